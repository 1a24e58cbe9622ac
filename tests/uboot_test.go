//go:build system

package tests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentslot "github.com/skerry-os/skerry/agent/slot"
	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/tests/machine"
	"github.com/skerry-os/skerry/ubootenv"
)

// Here the real boot.scr runs in Debian's U-Boot. The slots hold a script only,
// which says that it runs instead of starting a kernel.

const (
	ubootBootAt  = 16 << 20 // partition boot, as the slots behind it of this size
	ubootPartLen = 4 << 20
)

var ubootLayout = ubootenv.Layout{Offsets: [2]int64{1 << 20, 6 << 20}}

// slotRuns is the script of a slot that boots: it says so and resets.
const slotRuns = "echo \"slot runs: ${skerry_args}\"\nreset\n"

// slotBroken is the script of a slot whose kernel cannot be loaded.
const slotBroken = "if load ${devtype} ${devnum}:${skerry_part} ${kernel_addr_r} Image; then\n\treset\nfi\n"

// ubootDisk makes a disk with an MBR whose partitions hold these files.
func ubootDisk(t *testing.T, parts ...map[string][]byte) string {
	t.Helper()
	disk := make([]byte, ubootBootAt+len(parts)*ubootPartLen)
	for i, files := range parts {
		start := ubootBootAt + i*ubootPartLen
		entry := disk[446+16*i:][:16]
		entry[4] = 0x0c
		binary.LittleEndian.PutUint32(entry[8:], uint32(start/512))
		binary.LittleEndian.PutUint32(entry[12:], ubootPartLen/512)
		if files != nil {
			copy(disk[start:], fatOf(t, files))
		}
	}
	disk[446] = 0x80 // U-Boot looks for scripts on the bootable partition
	disk[510], disk[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func fatOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "fat")
	machine.Run(t, "mformat", "-C", "-i", image, "-f", "2880", "::")
	for name, contents := range files {
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		folder := ""
		for part := range strings.SplitSeq(filepath.Dir(name), "/") {
			if folder += "/" + part; part != "." && exec.Command("mdir", "-i", image, "::"+folder).Run() != nil {
				machine.Run(t, "mmd", "-i", image, "::"+folder)
			}
		}
		machine.Run(t, "mcopy", "-i", image, file, "::"+name)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scr(text string) []byte { return bootscript.Image("test", text, time.Unix(0, 0)) }

func bootText(t *testing.T, l ubootenv.Layout) string {
	t.Helper()
	text, err := bootscript.Text(l)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// slot is the contents of a slot with a script; none without one.
func slot(script string) map[string][]byte {
	if script == "" {
		return nil
	}
	return map[string][]byte{bootscript.SlotScript: scr(script)}
}

// stateCopy is a copy of the state in the short form of the tests: "A B 3" is
// slot_ok, slot_try ("-" for none) and serial, "" a broken copy.
func stateCopy(t *testing.T, short string) []byte {
	t.Helper()
	if short == "" {
		return bytes.Repeat([]byte{0x5a}, ubootenv.Size)
	}
	words := strings.Fields(short)
	env := ubootenv.Env{ubootenv.VariableOK: words[0], ubootenv.VariableSerial: words[2]}
	if words[1] != "-" {
		env[ubootenv.VariableTry] = words[1]
	}
	b, err := env.Encode(ubootenv.Size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func putState(t *testing.T, disk string, l ubootenv.Layout, copies [2]string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, short := range copies {
		if _, err := f.WriteAt(stateCopy(t, short), l.Offsets[i]); err != nil {
			t.Fatal(err)
		}
	}
}

func readState(t *testing.T, disk string, l ubootenv.Layout) (copies [2][]byte, r ubootenv.Reading) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, at := range l.Offsets {
		copies[i] = make([]byte, ubootenv.Size)
		if _, err := f.ReadAt(copies[i], at); err != nil {
			t.Fatal(err)
		}
	}
	return copies, ubootenv.Read(f, l)
}

func TestUBootBootsTheSlotTheStateSays(t *testing.T) {
	for _, tc := range []struct {
		name     string
		a, b     string // scripts of the slots
		copies   [2]string
		readOnly bool
		lines    []string  // on the console, over as many boots as they need
		after    [2]string // the copies then, if they change
	}{
		{name: "default", a: slotRuns, b: slotRuns, copies: [2]string{"A - 0", "A - 0"},
			lines: []string{`^slot runs: .*skerry.booted=A$`}},
		{name: "trial boots once and a reset falls back", a: slotRuns, b: slotRuns, copies: [2]string{"A - 0", "A B 1"},
			lines: []string{`^slot runs: .*skerry.booted=B skerry.trial=1$`, `^slot runs: .*skerry.booted=A$`},
			after: [2]string{"A - 2", "A B 1"}},
		{name: "trial with a wrapping serial", a: slotRuns, b: slotRuns, copies: [2]string{"B A 7", "B - 6"},
			lines: []string{`^slot runs: .*skerry.booted=A skerry.trial=1$`, `^slot runs: .*skerry.booted=B$`},
			after: [2]string{"B A 7", "B - 0"}},
		{name: "trial is not booted where the state cannot be saved", a: slotRuns, b: slotRuns, copies: [2]string{"A B 1", "A - 0"}, readOnly: true,
			lines: []string{`^skerry: cannot save the boot state, so slot B is not tried$`, `^slot runs: .*skerry.booted=A$`}},
		{name: "trial without a kernel", a: slotRuns, b: slotBroken, copies: [2]string{"A B 1", "A - 0"},
			lines: []string{`^skerry: booting trial: .*skerry.booted=B skerry.trial=1$`, `^skerry: slot B cannot be booted$`, `^slot runs: .*skerry.booted=A$`},
			after: [2]string{"A B 1", "A - 2"}},
		{name: "default without a kernel", a: slotBroken, b: slotRuns, copies: [2]string{"A - 0", "A - 0"},
			lines: []string{`^skerry: slot A cannot be booted$`, `^slot runs: .*skerry.booted=B$`}},
		{name: "empty default", a: slotRuns, copies: [2]string{"B - 4", "B - 5"},
			lines: []string{`^skerry: slot B cannot be booted$`, `^slot runs: .*skerry.booted=A$`}},
		{name: "both copies are broken", a: slotRuns, b: slotRuns,
			lines: []string{`^skerry: both copies of the boot state are broken: taking slot A$`, `^slot runs: .*skerry.booted=A$`}},
		{name: "one copy is broken", a: slotRuns, b: slotRuns, copies: [2]string{"", "B - 3"},
			lines: []string{`^skerry: the copy of the boot state at block 800 is broken$`, `^slot runs: .*skerry.booted=B$`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			timed(t)
			disk := ubootDisk(t, map[string][]byte{"boot.scr": scr(bootText(t, ubootLayout))}, slot(tc.a), slot(tc.b))
			putState(t, disk, ubootLayout, tc.copies)
			m := machine.StartUBoot(t, disk, tc.readOnly)
			for _, line := range tc.lines {
				m.Expect(line)
			}
			m.Kill()
			want := tc.copies
			if tc.after != [2]string{} {
				want = tc.after
			}
			got, _ := readState(t, disk, ubootLayout)
			for i := range want {
				if !bytes.Equal(got[i], stateCopy(t, want[i])) {
					t.Errorf("copy %d is %.80q, not %q", i+1, got[i], want[i])
				}
			}
		})
	}
}

func TestTrialAndCommitByTheAgentOnUBoot(t *testing.T) {
	timed(t)
	disk := ubootDisk(t, map[string][]byte{"boot.scr": scr(bootText(t, ubootLayout))}, slot(slotRuns), slot(slotRuns))
	putState(t, disk, ubootLayout, [2]string{"A - 0", "A - 0"})
	a, b := agentslot.Slot{Letter: agentslot.A, Version: "1"}, agentslot.Slot{Letter: agentslot.B, Version: "2"}
	agent := func(running agentslot.Slot, commandLine string) agentslot.UBoot {
		return agentslot.UBoot{Running: running, CommandLine: commandLine, Layout: ubootLayout,
			Open: func() (agentslot.StateDisk, error) { return agentslot.OpenInPlace(disk) }}
	}
	booted := func(running agentslot.Slot, wantTrial bool) agentslot.UBoot {
		t.Helper()
		m := machine.StartUBoot(t, disk, false)
		u := agent(running, m.Expect(`^slot runs: (.*)$`)[1])
		m.Kill()
		if s, trial, err := u.Booted(); err != nil || s != running || trial != wantTrial {
			t.Errorf("U-Boot said %q: slot %v, trial %v, %v", u.CommandLine, s, trial, err)
		}
		return u
	}
	if err := agent(a, "").Try(b); err != nil {
		t.Fatal(err)
	}
	u := booted(b, true)
	if s, err := u.Default(); err != nil || s.Letter != agentslot.A {
		t.Errorf("default in the trial: %v, %v", s, err)
	}
	if err := u.Commit(b); err != nil {
		t.Fatal(err)
	}
	u = booted(b, false)
	if s, err := u.Default(); err != nil || s != b {
		t.Errorf("default after the commit: %v, %v", s, err)
	}
}

// The script and package ubootenv must choose the same copy, whatever the two
// hold, and change it in the same way.
func TestUBootsScriptReadsAndWritesLikeTheAgent(t *testing.T) {
	timed(t)
	serials := []string{"", "0", "1", "2", "3", "4", "5", "6", "7", "8", "00", "x"}
	type pair struct {
		layout ubootenv.Layout
		copies [2]string
	}
	var pairs []pair
	boot := map[string][]byte{}
	for _, first := range serials {
		for _, second := range serials {
			p := pair{layout: ubootLayout}
			for i, serial := range []string{first, second} {
				p.layout.Offsets[i] += int64(len(pairs)) * ubootenv.Size
				if serial != "" {
					p.copies[i] = []string{"A B ", "B A "}[i] + serial
				}
			}
			pairs = append(pairs, p)
		}
	}
	for _, copies := range [][2]string{
		{"C - 1", "B - 0"}, {"a - 1", "B - 0"}, {"A C 1", "B - 0"}, {"A a 1", "B - 0"}, {"B B 1", "A - 0"}, {"C C 1", "A B 0"}, {"B - 2", "A B 1"},
	} {
		p := pair{layout: ubootLayout, copies: copies}
		for i := range p.layout.Offsets {
			p.layout.Offsets[i] += int64(len(pairs)) * ubootenv.Size
		}
		pairs = append(pairs, p)
	}
	var all strings.Builder
	for i, p := range pairs {
		name := fmt.Sprintf("%d.scr", i)
		boot[name] = scr(bootText(t, p.layout))
		fmt.Fprintf(&all, "echo \"pair %d\"\nload ${devtype} ${devnum}:1 ${scriptaddr} %s\nsource ${scriptaddr}\n", i, name)
	}
	boot["boot.scr"] = scr(all.String() + "echo \"end of pairs\"\npoweroff\n")
	// A slot that says it runs, and returns: the script goes on to the next.
	returns := slot("echo \"slot runs: ${skerry_args}\"\n")
	disk := ubootDisk(t, boot, returns, returns)
	for _, p := range pairs {
		putState(t, disk, p.layout, p.copies)
	}
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}

	m := machine.StartUBoot(t, disk, false)
	for i, p := range pairs {
		r := ubootenv.Read(bytes.NewReader(before), p.layout)
		want := "skerry.state=" + p.layout.String() + " skerry.booted=" + r.OK
		if r.Try != "" {
			want = "skerry.state=" + p.layout.String() + " skerry.booted=" + r.Try + " skerry.trial=1"
		}
		m.Expect(fmt.Sprintf(`^pair %d$`, i))
		if got := m.Expect(`^slot runs: (.*)$`)[1]; got != want {
			t.Errorf("copies %q: the script boots %q, the agent reads %q", p.copies, got, want)
		}
	}
	m.Expect(`^end of pairs$`)
	m.ExpectExit()

	mine := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(mine, before, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(mine, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range pairs {
		if r := ubootenv.Read(f, p.layout); r.Try != "" {
			if err := ubootenv.Write(f, p.layout, ubootenv.State{OK: r.OK}); err != nil {
				t.Fatal(err)
			}
		}
		got, _ := readState(t, disk, p.layout)
		want, _ := readState(t, mine, p.layout)
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("copies %q: the script leaves copy %d as %.60q, the agent as %.60q", p.copies, i+1, got[i], want[i])
			}
		}
	}
}
