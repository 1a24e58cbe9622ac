package bootscript

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/ubootenv"
)

func TestMkimageMakesTheSameBytes(t *testing.T) {
	for name, text := range map[string]string{
		"skerry": "echo hello\n", "": "a", strings.Repeat("long", 10): "echo\n",
	} {
		dir := t.TempDir()
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := os.WriteFile(in, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("mkimage", "-T", "script", "-A", "arm64", "-C", "none", "-n", name, "-d", in, out)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000001")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mkimage: %v (`make deps` installs it): %s", err, text)
		}
		want, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := Image(name, text, time.Unix(1700000001, 0)); !bytes.Equal(got, want) {
			t.Errorf("%q:\n%q\n%q", name, got, want)
		}
	}
}

func TestTextIsCompleteAndUsesNoSetexpr(t *testing.T) {
	text, err := Text(ubootenv.Layout{Offsets: [2]int64{8 << 20, 12 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	if left := regexp.MustCompile(`@\w*@?`).FindString(text); left != "" {
		t.Errorf("%s is left", left)
	}
	if !strings.Contains(text, "for skerry_block in 4000 6000; do") {
		t.Error("the blocks of the copies are not in hexadecimal")
	}
	for line := range strings.Lines(text) {
		if code, _, _ := strings.Cut(line, "#"); strings.Contains(code, "setexpr") {
			t.Errorf("not every board has setexpr: %s", line)
		}
	}
	if _, err := Text(ubootenv.Layout{}); err == nil {
		t.Error("no layout was accepted")
	}
}
