package board

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOverlaysAddToABoardAndLeaveItAsItIs(t *testing.T) {
	plain := func() *Board {
		return &Board{
			Name:     "x86_64",
			Programs: []Program{{Package: "a", Files: []string{"/a"}}},
			Go:       []GoProgram{{Package: "./a", File: "/ga"}},
			Images:   []string{"m", "n"},
			Firmware: []string{"f"},
			Kernel:   Kernel{Package: "k", Arguments: []string{"one"}},
			Modules:  Modules{Initramfs: []string{"i"}, Root: []string{"r"}},
		}
	}
	b := plain()
	got := b.With([]*Overlay{
		{Programs: []Program{{Package: "b", Files: []string{"/b"}}}, Kernel: OverlayKernel{Arguments: []string{"two"}}},
		{Go: []GoProgram{{Package: "./b", File: "/gb"}}, Images: []string{"n", "l"}, Firmware: []string{"g"}, Kernel: OverlayKernel{Arguments: []string{"three"}}, Modules: Modules{Initramfs: []string{"j"}, Root: []string{"s"}}},
	})
	want := &Board{
		Name:     "x86_64",
		Programs: []Program{{Package: "a", Files: []string{"/a"}}, {Package: "b", Files: []string{"/b"}}},
		Go:       []GoProgram{{Package: "./a", File: "/ga"}, {Package: "./b", File: "/gb"}},
		Images:   []string{"l", "m", "n"},
		Firmware: []string{"f", "g"},
		Kernel:   Kernel{Package: "k", Arguments: []string{"one", "two", "three"}},
		Modules:  Modules{Initramfs: []string{"i", "j"}, Root: []string{"r", "s"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(plain(), b); diff != "" {
		t.Errorf("the board itself changed: %s", diff)
	}
}
