package place

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/release"
)

// download makes a distribution with one program.
func download(t *testing.T, version, program string) *distribution.File {
	t.Helper()
	sum := sha256.Sum256([]byte(program))
	m := &distribution.Manifest{Version: release.Version(version), Architecture: "amd64", Entries: []distribution.Entry{
		{Path: Program, Mode: 0o755, Size: int64(len(program)), SHA256: hex.EncodeToString(sum[:])},
	}}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	err = distribution.WriteArchive(z, m, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(program)), nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "download")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := distribution.Assemble(file, strings.NewReader("launcher"), &packed); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	opened, err := distribution.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

func unpack(t *testing.T, p Place, file *distribution.File, wantFresh bool) string {
	t.Helper()
	dir, fresh, err := p.Unpack(file)
	if err != nil {
		t.Fatal(err)
	}
	if fresh != wantFresh {
		t.Errorf("unpacked anew: %v", fresh)
	}
	contents, err := os.ReadFile(filepath.Join(dir, Program))
	if err != nil {
		t.Fatal(err)
	}
	return string(contents)
}

func TestAVersionIsUnpackedOnceAndAgainWhenItIsDamaged(t *testing.T) {
	p := Place{t.TempDir()}
	file := download(t, "1.0.0", "one")
	if got := unpack(t, p, file, true); got != "one" {
		t.Errorf("first: %s", got)
	}
	unpack(t, p, file, false)
	if err := os.WriteFile(filepath.Join(p.Version("1.0.0"), Program), []byte("two"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := unpack(t, p, file, true); got != "one" {
		t.Errorf("after damage: %s", got)
	}
	// Another build of the same version takes its place.
	if got := unpack(t, p, download(t, "1.0.0", "other"), true); got != "other" {
		t.Errorf("another build: %s", got)
	}
	entries, err := os.ReadDir(p.Path(Lib))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the version: %v, %v", entries, err)
	}
}

func TestWhatAnInterruptedInstallationLeftIsRemoved(t *testing.T) {
	p := Place{t.TempDir()}
	left := filepath.Join(p.Path(Lib), unpacking+"123")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	unpack(t, p, download(t, "1.0.0", "one"), true)
	if _, err := os.Stat(left); err == nil {
		t.Error("it is still there")
	}
	if versions, err := p.Versions(); err != nil || !slices.Equal(versions, []string{"1.0.0"}) {
		t.Errorf("versions: %v, %v", versions, err)
	}
}

func TestTwoDoNotInstallAtTheSameTime(t *testing.T) {
	p := Place{t.TempDir()}
	if err := os.MkdirAll(p.Path(Lib), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := p.lock()
	if err != nil {
		t.Fatal(err)
	}
	file := download(t, "1.0.0", "one")
	if _, _, err := p.Unpack(file); err == nil || !strings.Contains(err.Error(), "somebody else is installing") {
		t.Errorf("meanwhile: %v", err)
	}
	unlock()
	unpack(t, p, file, true)
}

func TestTheNameOfTheLinkIsNoVersion(t *testing.T) {
	if _, _, err := (Place{t.TempDir()}).Unpack(download(t, Current, "one")); err == nil {
		t.Error("it was unpacked over the link")
	}
}

func TestAProgramFindsItsFilesByTheNameThatStays(t *testing.T) {
	p := Place{t.TempDir()}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		unpack(t, p, download(t, version, version), true)
	}
	if running, err := p.Running(); err != nil || running != "" {
		t.Errorf("before: %q, %v", running, err)
	}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		if err := p.Switch(version); err != nil {
			t.Fatal(err)
		}
		if running, err := p.Running(); err != nil || running != version {
			t.Errorf("running: %q, %v", running, err)
		}
	}
	// What runs asks for its own name, in which there are no links.
	if got, want := LibDir(filepath.Join(p.Version("2.0.0"), Program)), filepath.Join(p.Path(Lib), Current); got != want {
		t.Errorf("the version that is run: %s", got)
	}
	if got, want := LibDir(filepath.Join(p.Version("1.0.0"), Program)), p.Version("1.0.0"); got != want {
		t.Errorf("another version: %s", got)
	}
	if got := LibDir("/usr/bin/skerry"); got != "" {
		t.Errorf("not installed: %s", got)
	}
}

func TestRootIsFoundAmongOtherArguments(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"server", "--root", dir}, {"--root=" + dir, "server"}, {"server", "--no-start", "--root", dir + "/."}} {
		if p, err := Find(args); err != nil || p.Path("/etc") != filepath.Join(dir, "etc") {
			t.Errorf("%v: %v, %v", args, p, err)
		}
	}
	for _, args := range [][]string{{"server"}, {"server", "--root=/"}} {
		if p, err := Find(args); err != nil || p.Root != "" || p.Path("/etc") != "/etc" {
			t.Errorf("%v: %v, %v", args, p, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"server", "--root"}, {"server", "--root="}, {"--root", ""}, {"--root", filepath.Join(dir, "missing")}, {"--root", file}} {
		if p, err := Find(args); err == nil {
			t.Errorf("%v: %v", args, p)
		}
	}
}
