package slot

import (
	"errors"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/agent/dm"
)

type mapper struct {
	tables map[string]string
	fail   string
}

func (m *mapper) Create(name, _ string, table []dm.Target, readOnly bool) (dm.Device, error) {
	if name == m.fail {
		return dm.Device{}, errors.New("refused")
	}
	if !readOnly || len(table) != 1 {
		return dm.Device{}, errors.New("not a read-only device with one target")
	}
	minor := uint32(len(m.tables))
	m.tables[name] = table[0].String()
	return dm.Device{Major: 252, Minor: minor, Node: "/dev/dm-" + string('0'+rune(minor))}, nil
}

func (m *mapper) Remove(name string, _ bool) error {
	delete(m.tables, name)
	return nil
}

var found = Found{Letter: B, Partition: blockdev.Device{Node: "/dev/vda3", Major: 254, Minor: 3}}

func TestRootAtTheStartNeedsNoLinearDevice(t *testing.T) {
	_, params := release(1)
	m := &mapper{tables: map[string]string{}}
	got, err := Open(m, found, params)
	if err != nil || got != (Opened{Node: "/dev/dm-0", DataDevice: "254:3"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if table := m.tables[rootName]; len(m.tables) != 1 || !strings.HasPrefix(table, "0 16 verity 1 254:3 254:3 4096 4096 2 2 sha256 ") {
		t.Errorf("tables %v", m.tables)
	}
}

func TestRootBehindABootAreaIsShifted(t *testing.T) {
	_, params := release(1)
	params.Root, params.Tree = 4096, 12288
	m := &mapper{tables: map[string]string{}}
	got, err := Open(m, found, params)
	if err != nil || got != (Opened{Node: "/dev/dm-1", DataDevice: "252:0"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if m.tables[linearName] != "0 16 linear 254:3 8" || !strings.HasPrefix(m.tables[rootName], "0 16 verity 1 252:0 254:3 4096 4096 2 3 sha256 ") {
		t.Errorf("tables %v", m.tables)
	}
}

func TestCorruptBlocksAreRefusedAndNothingElse(t *testing.T) {
	_, params := release(1)
	m := &mapper{tables: map[string]string{}}
	if _, err := Open(m, found, params); err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"corruption", "ignore", "once"} {
		if strings.Contains(m.tables[rootName], option) {
			t.Errorf("table %q has option %s", m.tables[rootName], option)
		}
	}
}

func TestFailedOpenLeavesNoDevice(t *testing.T) {
	_, params := release(1)
	params.Root = 4096
	for _, fail := range []string{linearName, rootName} {
		m := &mapper{tables: map[string]string{}, fail: fail}
		if _, err := Open(m, found, params); err == nil || len(m.tables) != 0 {
			t.Errorf("%s fails: error %v, left %v", fail, err, m.tables)
		}
	}
	params.Root = 100
	if _, err := Open(&mapper{}, found, params); err == nil {
		t.Error("a root that starts inside a sector was opened")
	}
}

func TestKernelMessageNamesTheCorruptBlock(t *testing.T) {
	for line, want := range map[string]Corruption{
		"device-mapper: verity: 253:0: data block 12345 is corrupted":                   {"253:0", "data", 12345},
		"3,827,5103945,-;device-mapper: verity: 254:3: metadata block 7 is corrupted\n": {"254:3", "metadata", 7},
	} {
		if got, ok := ParseCorruption(line); !ok || got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{
		"", "device-mapper: verity: 253:0: reached maximum errors", "device-mapper: verity: x: data block 1 is corrupted",
		"device-mapper: verity: 253:0: data block -1 is corrupted", "device-mapper: verity: 253:0: data block", "device-mapper: verity: 253:0: FEC 4096: recursion too deep",
	} {
		if got, ok := ParseCorruption(line); ok {
			t.Errorf("%q was read as %+v", line, got)
		}
	}
	if got := (Corruption{"253:0", "data", 5}).Problem(A); !strings.Contains(got, "slot A: block 5 of the root is corrupt: read refused") {
		t.Error(got)
	}
}

func FuzzParseCorruption(f *testing.F) {
	f.Add("device-mapper: verity: 253:0: data block 12345 is corrupted")
	f.Fuzz(func(t *testing.T, line string) {
		if c, ok := ParseCorruption(line); ok && (c.Block < 0 || c.Device == "") {
			t.Errorf("%+v", c)
		}
	})
}
