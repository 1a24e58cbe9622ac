package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func lines(steps []Step) []string {
	var all []string
	for _, s := range steps {
		all = append(all, s.String())
	}
	return all
}

func TestTablesPrintAsCommandLines(t *testing.T) {
	pseudo := []string{
		"mount -t proc -o nosuid,nodev,noexec proc /proc",
		"mount -t sysfs -o nosuid,nodev,noexec sysfs /sys",
		"mount -t devtmpfs -o nosuid,noexec,mode=0755 devtmpfs /dev",
		"mount -t tmpfs -o nosuid,nodev,noexec,mode=0755,size=20%,nr_inodes=800k tmpfs /run",
	}
	if diff := cmp.Diff(pseudo, lines(InitramfsTable())); diff != "" {
		t.Errorf("initramfs (-want +got):\n%s", diff)
	}
	root := append([]string{"mount --make-rshared /"}, append(pseudo,
		"mount -t devpts -o nosuid,noexec,gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts",
		"mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=64m tmpfs /dev/shm",
		"mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue",
		"mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=10%,nr_inodes=400k tmpfs /tmp",
		"mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup",
		"mount -t securityfs -o nosuid,nodev,noexec securityfs /sys/kernel/security",
		"mount -t bpf -o nosuid,nodev,noexec,mode=0700 bpf /sys/fs/bpf",
		"mount -t efivarfs -o nosuid,nodev,noexec efivarfs /sys/firmware/efi/efivars",
		"mount -t overlay -o nosuid,nodev,noexec,lowerdir=/etc,upperdir=/run/skerry/etc/upper,workdir=/run/skerry/etc/work overlay /etc",
	)...)
	if diff := cmp.Diff(root, lines(RootTable())); diff != "" {
		t.Errorf("root (-want +got):\n%s", diff)
	}
}

// What a step prints is what the program mount does when given it.
func TestPrintedStepsAreWhatMountDoes(t *testing.T) {
	for _, s := range RootTable() {
		r := newRecorder()
		words := strings.TrimPrefix(s.String(), "mount ")
		if exit, _, stderr := r.runMount(words); exit != 0 {
			t.Fatalf("%s: exit %d, %s", s, exit, stderr)
		}
		direct := newRecorder()
		if err := direct.Mount(s.Source, s.Target, s.Type, s.Flags, s.Data); err != nil {
			t.Fatal(err)
		}
		r.expect(t, s.String(), direct.calls...)
	}
}

func TestApplyMakesDirectoriesAndSkipsWhatIsNotThere(t *testing.T) {
	root := t.TempDir()
	r := newRecorder()
	r.infos = []Info{{ID: 9, Target: filepath.Join(root, "/proc"), Type: "proc"}, {ID: 10, Target: filepath.Join(root, "/dev"), Type: "tmpfs"}}
	if err := os.MkdirAll(filepath.Join(root, "/sys/fs/bpf"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.refuse = func(call string) error {
		if strings.Contains(call, `"mqueue"`) {
			return unix.ENODEV
		}
		return nil
	}
	results, err := Apply(r, root, RootTable())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Outcome{}
	for _, result := range results {
		got[result.Step.Target] = result.Outcome
		if (result.Err != nil) != (result.Outcome == Failed) {
			t.Errorf("%s: %s with error %v", result.Step, result.Outcome, result.Err)
		}
	}
	want := map[string]Outcome{
		"/": Mounted, "/proc": WasMounted, "/sys": Mounted, "/dev": Mounted, "/run": Mounted,
		"/dev/pts": Mounted, "/dev/shm": Mounted, "/dev/mqueue": Failed, "/tmp": Mounted, "/sys/fs/cgroup": Mounted,
		"/sys/kernel/security": NotNeeded, "/sys/fs/bpf": Mounted, "/sys/firmware/efi/efivars": NotNeeded, "/etc": Mounted,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	for _, dir := range []string{"/dev/pts", etcUpper, etcWork} {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
}

func TestApplyStopsAtAFailureAndNamesTheStep(t *testing.T) {
	r := newRecorder()
	r.refuse = func(call string) error {
		if strings.Contains(call, `"/run"`) {
			return unix.ENOENT
		}
		return nil
	}
	results, err := Apply(r, "/", InitramfsTable())
	if err == nil || !strings.Contains(err.Error(), "mount -t tmpfs") || !strings.Contains(err.Error(), "/run does not exist") {
		t.Errorf("error is %v", err)
	}
	if len(results) != 3 {
		t.Errorf("%d steps done before it, want 3", len(results))
	}
}

func TestRemoveContentsFollowsNoLinks(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	inside := filepath.Join(base, "inside")
	for _, dir := range []string{outside, filepath.Join(inside, "a/b/c"), filepath.Join(inside, "empty")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(outside, "keep"), filepath.Join(inside, "f"), filepath.Join(inside, "a/b/c/f")} {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"l", "a/l"} {
		if err := os.Symlink(outside, filepath.Join(inside, link)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := removeContents(int(dir.Fd())); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(inside); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "keep")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}
