package mount

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMountInfo(t *testing.T) {
	got, err := ParseMountInfo(strings.NewReader(
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n" +
			`22 1 0:21 / /var/a\040b\134\011c rw,relatime shared:5 master:2 propagate_from:3 - tmpfs a\043b rw,size=4k` + "\n" +
			"40 1 0:40 / /x ro - fuse.ssh  rw\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Info{
		{ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Target: "/mnt2", Options: "rw,noatime", Tags: []string{"master:1"}, Type: "ext3", Source: "/dev/root", SuperOptions: "rw,errors=continue"},
		{ID: 22, Parent: 1, Minor: 21, Root: "/", Target: "/var/a b\\\tc", Options: "rw,relatime", Tags: []string{"shared:5", "master:2", "propagate_from:3"}, Type: "tmpfs", Source: "a#b", SuperOptions: "rw,size=4k"},
		{ID: 40, Parent: 1, Minor: 40, Root: "/", Target: "/x", Options: "ro", Type: "fuse.ssh", SuperOptions: "rw"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestParseMountInfoRefuses(t *testing.T) {
	for _, line := range []string{
		"", "36", "36 35 98:0 / /m rw - ext3 /dev/root", "36 35 98:0 / /m rw ext3 /dev/root rw x y",
		"a 35 98:0 / /m rw - ext3 /dev/root rw", "36 35 980 / /m rw - ext3 /dev/root rw",
		"36 35 98:-1 / /m rw - ext3 /dev/root rw", "36 35 98:0 / /m rw x y z -", strings.Repeat("x", maxMountInfoLine+1),
	} {
		if got, err := ParseMountInfo(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%.60q gives %v, want an error", line, got)
		}
	}
}

// mount(8) of the host prints what it parsed from the same file.
func TestListAgreesWithMount(t *testing.T) {
	program, err := exec.LookPath("mount")
	if err != nil {
		t.Fatalf("this test needs mount(8): %v", err)
	}
	want, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got, stderr strings.Builder
	if exit := Mount(nil, &got, &stderr); exit != 0 {
		t.Fatalf("exit %d: %s", exit, stderr.String())
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("list (-mount(8) +ours):\n%s", diff)
	}
}

func TestMountIDFindsTheMountInMountInfo(t *testing.T) {
	infos, err := Linux{}.MountInfo()
	if err != nil {
		t.Fatal(err)
	}
	for path, wantRoot := range map[string]bool{"/proc": true, "/proc/self": false} {
		id, root, err := Linux{}.MountID(path)
		if err != nil {
			t.Fatal(err)
		}
		if root != wantRoot {
			t.Errorf("%s: root of a mount: %v, want %v", path, root, wantRoot)
		}
		found := false
		for _, info := range infos {
			found = found || info.ID == id && info.Target == "/proc"
		}
		if !found {
			t.Errorf("%s: mount %d is not /proc's in mountinfo", path, id)
		}
	}
}

func FuzzParseMountInfo(f *testing.F) {
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own))
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add(`1 2 3:4 \040 \1 - - - - -` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		infos, err := ParseMountInfo(strings.NewReader(text))
		if err == nil && len(infos) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts of %d lines", len(infos), strings.Count(text, "\n")+1)
		}
	})
}

func FuzzParseOptions(f *testing.F) {
	for _, list := range []string{"ro,size=1m", `context="a,b",nosuid`, "bind,remount,,ro", "offset=1KiB,loop", `"`} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		o, err := parseOptions(list)
		if err != nil {
			return
		}
		// Nothing is invented, and what goes to the file system parses to itself.
		again, err := parseOptions(o.data)
		if err != nil || again.data != o.data || again.set != 0 || again.operation != 0 {
			t.Errorf("data %q of %q parses to %+v, %v", o.data, list, again, err)
		}
		if o.set&o.cleared != 0 {
			t.Errorf("%q sets and clears %#x", list, o.set&o.cleared)
		}
	})
}
