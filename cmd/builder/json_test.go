package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/release"
)

func TestConfigCheckIsForMachinesToo(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	head := "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"
	for name, text := range map[string]string{good: head, bad: head + "hostnam: x\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(args ...string) (int, checked) {
		t.Helper()
		code, stdout, stderr := invoke(append([]string{"config", "check", "--json"}, args...)...)
		var result checked
		if err := json.Unmarshal([]byte(stdout), &result); err != nil || stderr != "" || !strings.Contains(stdout, `"findings": [`) {
			t.Fatalf("%v: %v\n%s%s", args, err, stdout, stderr)
		}
		return code, result
	}
	if code, result := check(good); code != 0 || !result.Valid || len(result.Findings) != 0 {
		t.Errorf("good: exit code %d, %+v", code, result)
	}
	missing := filepath.Join(dir, "missing.yaml")
	code, result := check(good, bad, missing)
	if code != exitFailed || result.Valid || len(result.Findings) != 2 {
		t.Fatalf("exit code %d, %+v", code, result)
	}
	if f := result.Findings[0]; f.File != bad || f.Line != 3 || f.Column != 1 || f.Key != "hostnam" || f.Message == "" || strings.Contains(f.Message, "bad.yaml") {
		t.Errorf("got %+v", f)
	}
	if f := result.Findings[1]; f.File != missing || f.Line != 0 || f.Message == "" {
		t.Errorf("got %+v", f)
	}
}

func TestBuildPrintsManifestAndPathsAsJSON(t *testing.T) {
	m := &release.Manifest{
		Version: "1.2.0", Board: "x86_64", Architecture: "amd64", Kernel: "6.12.1-amd64", Time: time.Unix(1700000000, 0).UTC(),
		Verity: "root=0", Artifacts: []release.Artifact{{Name: "a.slot", Kind: release.KindSlot, Size: 1, SHA256: release.Digest{1}}},
	}
	files := []string{"/out/a.img", "/out/SHA256SUMS"}
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	if err := printMade(cmd, &builder.Result{Manifest: m, Files: files}); err != nil {
		t.Fatal(err)
	}
	var printed struct{ Files []string }
	if err := json.Unmarshal(out.Bytes(), &printed); err != nil || !slices.Equal(printed.Files, files) {
		t.Errorf("got %v, %v", printed.Files, err)
	}
	// It is a manifest still, for those who read it as one.
	if read, err := release.ParseManifest("out", out.Bytes()); err != nil || read.Version != "1.2.0" || len(read.Artifacts) != 1 {
		t.Errorf("got %+v, %v", read, err)
	}
}
