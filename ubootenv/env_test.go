package ubootenv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (`make deps` installs it): %s", cmd, err, out)
	}
	return string(out)
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

var examples = []Env{
	{},
	{"a": ""},
	{"slot_ok": "A", "slot_serial": "0"},
	{"slot_ok": "B", "slot_try": "A", "slot_serial": "7", "Other": "x=y ä", "slot": "z"},
}

func TestMkenvimageMakesTheSameBytes(t *testing.T) {
	for i, env := range examples[1:] { // it refuses an empty one
		for _, size := range []int{128, Size} {
			got, err := env.Encode(size)
			if err != nil {
				t.Fatal(err)
			}
			var text string
			for _, pair := range strings.Split(strings.TrimRight(string(got[headerBytes:]), "\x00"), "\x00") {
				text += pair + "\n"
			}
			out := filepath.Join(t.TempDir(), "env")
			tool(t, "mkenvimage", "-s", fmt.Sprint(size), "-p", "0x00", "-o", out, write(t, "text", []byte(text)))
			want, err := os.ReadFile(out)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("environment %d in %d bytes: %v\n%q\n%q", i, size, err, got, want)
			}
		}
	}
}

func TestMkenvimagesPaddingIsTaken(t *testing.T) {
	out := filepath.Join(t.TempDir(), "env")
	tool(t, "mkenvimage", "-s", "256", "-p", "0xff", "-o", out, write(t, "text", []byte("slot_ok=B\nz=1\n")))
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if env, err := Parse(b); err != nil || len(env) != 2 || env["slot_ok"] != "B" || env["z"] != "1" {
		t.Errorf("%v, %v", env, err)
	}
}

// fwConfig is a fw_env.config for one environment without flags.
func fwConfig(t *testing.T, file string, at int64) string {
	return write(t, "fw_env.config", fmt.Appendf(nil, "%s %#x %#x\n", file, at, Size))
}

func TestFwPrintenvReadsAndFwSetenvChangesACopy(t *testing.T) {
	const at = 8192
	b, err := examples[3].Encode(Size)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "disk", append(make([]byte, at), append(b, make([]byte, 4096)...)...))
	config := fwConfig(t, file, at)
	printed := tool(t, "fw_printenv", "-c", config)
	for name, value := range examples[3] {
		if !strings.Contains("\n"+printed, "\n"+name+"="+value+"\n") {
			t.Errorf("fw_printenv does not show %s=%s: %s", name, value, printed)
		}
	}
	tool(t, "fw_setenv", "-c", config, "slot_ok", "A")
	tool(t, "fw_setenv", "-c", config, "slot_try")
	disk, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, serial, err := decode(disk[at:][:Size])
	if err != nil || s != (State{OK: SlotA}) || serial != 7 {
		t.Errorf("after fw_setenv: %v, serial %d, %v", s, serial, err)
	}
}

func TestEncodedEnvironmentsParse(t *testing.T) {
	for _, env := range examples {
		b, err := env.Encode(128)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(env) {
			t.Errorf("%v became %v, %v", env, got, err)
		}
	}
}

func TestEnvironmentFitsToTheLastByte(t *testing.T) {
	env := Env{"n": strings.Repeat("v", 10)} // 4 + 13 + 1 bytes
	b, err := env.Encode(18)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(b); err != nil || got["n"] != env["n"] {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := env.Encode(17); err == nil {
		t.Error("fits in a byte less")
	}
	if _, err := (Env{}).Encode(4); err == nil {
		t.Error("no room for the end")
	}
	if _, err := (Env{}).Encode(maxBytes + 1); err == nil {
		t.Error("larger than Parse takes")
	}
}

// sealed puts a right checksum before contents.
func sealed(contents string) []byte {
	b, err := Env{}.Encode(headerBytes + max(1, len(contents)))
	if err != nil {
		panic(err)
	}
	copy(b[headerBytes:], contents)
	return reseal(b)
}

func TestBrokenEnvironmentsAreRefused(t *testing.T) {
	good, _ := examples[2].Encode(128)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := Parse(bad); err == nil {
			t.Errorf("byte %d is wrong, and nobody sees it", i)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "header only": good[:4], "cut": good[:127], "longer": append(bytes.Clone(good), 0), "too long": make([]byte, maxBytes+1),
		"no end": sealed("a=b"), "no empty string": sealed("a=b\x00"), "no =": sealed("a\x00\x00"), "no name": sealed("=b\x00\x00"),
	} {
		if env, err := Parse(b); err == nil {
			t.Errorf("%s: %v", name, env)
		}
	}
	if env, err := Parse(sealed("a=1\x00a=2\x00\x00junk")); err != nil || env["a"] != "2" {
		t.Errorf("the last of two does not count: %v, %v", env, err)
	}
}

func TestVariablesToolsReadDifferentlyAreRefused(t *testing.T) {
	for _, env := range []Env{{"": "x"}, {"a=b": ""}, {"a": "\\"}, {"a\x00": ""}, {"a": "b\x00c"}, {"#a": "b"}, {" a": "b"}} {
		if b, err := env.Encode(128); err == nil {
			t.Errorf("%q became %q", env, b)
		}
	}
}

func reseal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[headerBytes:]))
	return b
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("slot_ok=A\x00slot_serial=0\x00\x00"), true)
	f.Add([]byte("a=b=c\x00\x00\xff"), true)
	f.Add([]byte{0, 0, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) < maxBytes/2 {
			b = reseal(append(make([]byte, headerBytes), b...))
		}
		env, err := Parse(b)
		if err != nil {
			return
		}
		again, err := env.Encode(len(b))
		if err != nil {
			return // has what we do not write
		}
		if got, err := Parse(again); err != nil || fmt.Sprint(got) != fmt.Sprint(env) {
			t.Errorf("%q became %q, %v", env, got, err)
		}
	})
}
