package stage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/skerry-os/skerry/fat"
)

func TestFilesThatWereMeantForTheNodeConfigAreTold(t *testing.T) {
	for name, mistaken := range map[string]bool{
		"skerry.yaml.txt": true, "skerry.yml": true, "Skerry.YAML.yaml": true, "skerry.txt": true, "skerry (1).yaml": true, "skerry-shop.yaml": true,
		"skerry-report.txt": false, "skerry-example.yaml": false, "config.txt": false, "boot.scr": false, "skerry": false,
	} {
		contents, err := readConfigFile(fstest.MapFS{name: {Data: []byte("x")}, "boot.scr": {}})
		if contents != nil || (err != nil) != mistaken || mistaken && !strings.Contains(err.Error(), "has "+name+" and no skerry.yaml: rename it") {
			t.Errorf("%s: %q, %v", name, contents, err)
		}
	}
	contents, err := readConfigFile(fstest.MapFS{"skerry.yaml": {Data: []byte("a: b\n")}, "skerry.yaml.txt": {Data: []byte("x")}})
	if err != nil || string(contents) != "a: b\n" {
		t.Errorf("%q, %v", contents, err)
	}
}

// bootDevice makes partition boot in a file.
func bootDevice(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "boot")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const size = 34 << 20
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	options := fat.Options{Label: "BOOT", Time: time.Unix(1e9, 0)}
	if err := fat.Make(context.Background(), file, 0, size, nil, options); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReportSaysWhyTheConfigWasNotUsedAndThatItIsAgain(t *testing.T) {
	name := bootDevice(t)
	// report is a boot, and returns what is on partition boot then.
	report := func(problem error) string {
		t.Helper()
		device, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := fat.Open(device, 34<<20)
		if err != nil {
			t.Fatal(err)
		}
		n := &node{partitionBoot: &boot{contents, device}, release: osRelease{version: "1.2.0"}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		if err := n.reportConfig("the defaults", problem); err != nil {
			t.Fatal(err)
		}
		n.closeBoot()
		again, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if contents, err = fat.Open(again, 34<<20); err != nil {
			t.Fatal(err)
		}
		text, err := fs.ReadFile(contents, reportName)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	modified := func() time.Time {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	before := modified()
	if got := report(nil); got != "" || modified() != before {
		t.Errorf("nothing was ever wrong, and there is a report: %q", got)
	}
	got := report(errors.New("skerry.yaml:3:1: hostnme is not known"))
	for _, want := range []string{"could not use skerry.yaml, and runs with the defaults.\r\n", "skerry.yaml:3:1: hostnme is not known\r\n", "Skerry 1.2.0"} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q: %q", want, got)
		}
	}
	before = modified()
	if again := report(errors.New("skerry.yaml:3:1: hostnme is not known")); again != got || modified() != before {
		t.Error("the same was written again")
	}
	if got = report(nil); !strings.HasPrefix(got, "The node uses skerry.yaml.") {
		t.Errorf("after it was mended: %q", got)
	}
	before = modified()
	if report(nil); modified() != before {
		t.Error("a normal boot writes")
	}
}
