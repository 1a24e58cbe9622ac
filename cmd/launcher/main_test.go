package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/distribution/place"
)

// download compiles the launcher and puts a small archive behind it, whose
// program says how it was called.
func download(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	launcher := filepath.Join(dir, "launcher")
	if out, err := exec.Command("go", "build", "-o", launcher, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const script = "#!/bin/sh\necho \"$0 $*\"\n"
	sum := sha256.Sum256([]byte(script))
	m := &distribution.Manifest{Version: "1.2.0", Architecture: "amd64", Entries: []distribution.Entry{
		{Path: place.Program, Mode: 0o755, Size: int64(len(script)), SHA256: hex.EncodeToString(sum[:])},
	}}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(distribution.WriteArchive(z, m, func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(script)), nil
	}), z.Close())
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Open(launcher)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	name := filepath.Join(dir, "skerry-1.2.0-linux-amd64")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(distribution.Assemble(file, program, &packed), file.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestADownloadUnpacksItselfOnceAndHandsOver(t *testing.T) {
	name, root := download(t), t.TempDir()
	program := filepath.Join(root, place.Lib, "1.2.0", place.Program)
	for _, want := range []string{"unpacked into", "is there already"} {
		out, err := exec.Command(name, "install", "server", "--root", root, "--tls-san=x y").CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) || !strings.HasSuffix(string(out), "\n"+program+" install server --root "+root+" --tls-san=x y\n") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	out, err := exec.Command(name, "--version").CombinedOutput()
	if err != nil || string(out) != "skerry 1.2.0 linux-amd64\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestADownloadThatWasCutShortInstallsNothing(t *testing.T) {
	name, root := download(t), t.TempDir()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, info.Size()-100); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(name, "install", "server", "--root", root).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "download it again") {
		t.Errorf("%v: %s", err, out)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("it made %v, %v", entries, err)
	}
}

func TestWithoutInstallNothingIsDone(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, []string{"x"}); err != nil || !strings.Contains(out.String(), "install agent --server URL") {
		t.Errorf("%v: %s", err, &out)
	}
	if err := run(&out, []string{"x", "server"}); err == nil || !strings.Contains(err.Error(), `"server": this file only installs`) {
		t.Error(err)
	}
	if err := run(&out, []string{"x", "install", "server", "--root"}); !errors.Is(err, place.ErrNoRoot) {
		t.Error(err)
	}
}
