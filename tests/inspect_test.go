//go:build system

package tests

import (
	"encoding/json"
	"os/exec"
	"slices"
	"testing"
)

func TestInspectFindsNothingWrong(t *testing.T) {
	for _, board := range slices.Concat([]string{"x86_64", "arm64"}, ubootBoards) {
		t.Run(board, func(t *testing.T) {
			timed(t)
			i := built(t, board)
			program, err := builderCommand()
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(program, "inspect", "--json", "--work-dir", t.TempDir(), i.path()).Output()
			if err != nil {
				t.Errorf("builder inspect: %v", err)
			}
			var report struct {
				Findings []struct{ Where, What string }
			}
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				t.Errorf("%s: %s", f.Where, f.What)
			}
		})
	}
}
