package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSourceIsFoundFromAnyFolderInIt(t *testing.T) {
	root := repository(t)
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := FindSource(deep); err != nil || got != root {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := FindSource(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("outside: %v", err)
	}
}

func TestOptionsThatCannotWorkAreRefusedFirst(t *testing.T) {
	for want, o := range map[string]Options{
		"img, img.zst, img.xz, qcow2": {Formats: []string{"vmdk"}},
		"format img is asked":         {Formats: []string{"img", "qcow2", "img"}},
		"overlay debug is asked":      {Overlays: []string{"debug", "debug"}},
		"boot":                        {Version: "1.0+3"},
		"lower-case":                  {Version: "1.0-RC1"},
	} {
		if err := o.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := (Options{Version: "1.0~rc1", Formats: Formats}).check(); err != nil {
		t.Error(err)
	}
}
