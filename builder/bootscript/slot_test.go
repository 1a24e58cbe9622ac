package bootscript

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestSlotTextIsCompleteAndUsesNoSetexpr(t *testing.T) {
	text, err := Slot{
		Arguments: "console=ttyS2,1500000 panic=10", KernelCRC: 0x01020304, InitramfsCRC: 0xa0b0c0d0, DeviceTree: "rockchip/rk3328-rock64.dtb",
		Addresses: Addresses{Kernel: 2 << 20, Initramfs: 128 << 20},
	}.Text()
	if err != nil {
		t.Fatal(err)
	}
	if left := regexp.MustCompile(`@\w*@?`).FindString(text); left != "" {
		t.Errorf("%s is left", left)
	}
	for _, want := range []string{
		"setenv kernel_addr_r 0x200000\nsetenv ramdisk_addr_r 0x8000000\n",
		"== 0x04030201;", "== 0xd0c0b0a0;",
		`setenv bootargs "console=ttyS2,1500000 panic=10 ${skerry_args}"`,
		`in "${fdtfile}" rockchip/rk3328-rock64.dtb; do`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(text, "setenv fdt_addr_r") {
		t.Error("an address that is not given replaces U-Boot's")
	}
	for line := range strings.Lines(text) {
		if code, _, _ := strings.Cut(line, "#"); strings.Contains(code, "setexpr") {
			t.Errorf("not every board has setexpr: %s", line)
		}
	}
}

func TestArgumentsThatTheShellWouldChangeAreRefused(t *testing.T) {
	for _, arguments := range []string{`a="b c"`, `a=\x`, "a=$b", "a\nb", "a='b'"} {
		if _, err := (Slot{Arguments: arguments}).Text(); err == nil {
			t.Errorf("%q was accepted", arguments)
		}
	}
}

func TestScriptsAreReadBackAndDamageIsSeen(t *testing.T) {
	image := Image("skerry", "echo hello\n", time.Unix(1, 0))
	if text, err := Script(image); err != nil || text != "echo hello\n" {
		t.Errorf("%q, %v", text, err)
	}
	for i := range image {
		changed := append([]byte(nil), image...)
		changed[i] ^= 0x10
		if _, err := Script(changed); err == nil {
			t.Errorf("byte %d is wrong, and nobody sees it", i)
		}
	}
	for n := range image {
		if _, err := Script(image[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a script", n, len(image))
		}
	}
}

func TestScriptsOfMkimageAreRead(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("echo hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("mkimage", "-T", "script", "-A", "arm64", "-C", "none", "-d", in, out).CombinedOutput(); err != nil {
		t.Fatalf("mkimage: %v (`make deps` installs it): %s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := Script(b); err != nil || text != "echo hello\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func FuzzScript(f *testing.F) {
	f.Add(Image("a", "b", time.Unix(0, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := Script(b); err == nil && len(text) > len(b) {
			t.Errorf("a script of %d bytes in an image of %d", len(text), len(b))
		}
	})
}
