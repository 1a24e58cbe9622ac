package ubootenv

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	sector = 512
	space  = 16 << 20
)

var layout = Layout{Offsets: [2]int64{1 << 20, 5 << 20}}

// medium keeps sectors, and what was written since the last sync.
type medium struct {
	sectors map[int64][sector]byte
	pending []piece
	syncs   int
	writes  int
	fail    map[string]error // by operation
	lose    bool             // writes are said to be done, and are not
}

type piece struct {
	sector int64
	data   [sector]byte
}

func (m *medium) ReadAt(b []byte, at int64) (int, error) {
	if err := m.fail["read"]; err != nil {
		return 0, err
	}
	if at+int64(len(b)) > space {
		return 0, io.EOF
	}
	for n := 0; n < len(b); n += sector {
		s := m.sectors[(at+int64(n))/sector]
		copy(b[n:], s[:])
	}
	return len(b), nil
}

func (m *medium) WriteAt(b []byte, at int64) (int, error) {
	m.writes++
	if err := m.fail["write"]; err != nil {
		return 0, err
	}
	for n := 0; n < len(b); n += sector {
		p := piece{(at + int64(n)) / sector, [sector]byte(b[n:])}
		m.pending = append(m.pending, p)
		if !m.lose {
			m.sectors[p.sector] = p.data
		}
	}
	return len(b), nil
}

func (m *medium) Sync() error {
	m.syncs++
	return m.fail["sync"]
}

func (m *medium) clone() *medium {
	c := &medium{sectors: map[int64][sector]byte{}}
	for i, s := range m.sectors {
		c.sectors[i] = s
	}
	return c
}

func (m *medium) with(pieces ...piece) *medium {
	c := m.clone()
	for _, p := range pieces {
		c.sectors[p.sector] = p.data
	}
	return c
}

// put writes a copy, or breaks it if the serial is negative.
func (m *medium) put(t *testing.T, copy int, s State, serial int) {
	t.Helper()
	b := bytes.Repeat([]byte{0xa5}, Size)
	if serial >= 0 {
		var err error
		if b, err = s.Encode(serial); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.WriteAt(b, layout.Offsets[copy]); err != nil {
		t.Fatal(err)
	}
	m.pending, m.writes = nil, 0
}

func fresh(t *testing.T) *medium {
	m := &medium{sectors: map[int64][sector]byte{}}
	m.put(t, 0, State{OK: SlotA}, 0)
	m.put(t, 1, State{OK: SlotA}, 0)
	return m
}

func TestNewestValidCopyWins(t *testing.T) {
	const broken = -1
	a, b := State{OK: SlotA}, State{OK: SlotB, Try: SlotA}
	for _, c := range []struct {
		serials [2]int
		want    State
	}{
		{[2]int{0, 0}, a}, {[2]int{0, 1}, b}, {[2]int{1, 0}, a}, {[2]int{0, 3}, b}, {[2]int{3, 0}, a},
		{[2]int{7, 0}, b}, {[2]int{0, 7}, a}, {[2]int{6, 1}, b}, {[2]int{1, 6}, a},
		{[2]int{0, 4}, a}, {[2]int{4, 0}, a}, {[2]int{7, 3}, a}, // not ordered
		{[2]int{broken, 5}, b}, {[2]int{5, broken}, a}, {[2]int{broken, broken}, State{OK: SlotA}},
	} {
		m := fresh(t)
		m.put(t, 0, a, c.serials[0])
		m.put(t, 1, b, c.serials[1])
		r := Read(m, layout)
		if r.State != c.want {
			t.Errorf("serials %v: %v", c.serials, r.State)
		}
		for i, serial := range c.serials {
			if (r.Problems[i] != nil) != (serial == broken) {
				t.Errorf("serials %v: copy %d: %v", c.serials, i, r.Problems[i])
			}
		}
	}
}

func TestSerialsWrapLikeRFC1982(t *testing.T) {
	for a := range serials {
		at := a
		for step := 1; step <= serials; step++ {
			at = nextSerial(at)
			if newer(at, a) != (step <= 3) || newer(a, at) != (step >= 5 && step <= 7) {
				t.Errorf("%d and %d, %d steps later", a, at, step)
			}
		}
	}
	for _, text := range []string{"", "8", "-1", "00", "07", "1 ", "x"} {
		if n, ok := parseSerial(text); ok {
			t.Errorf("%q is serial %d", text, n)
		}
	}
}

func TestUnusableVariablesMakeACopyBroken(t *testing.T) {
	for _, env := range []Env{{}, {"slot_ok": "A"}, {"slot_serial": "1"}, {"slot_ok": "C", "slot_serial": "1"}, {"slot_ok": "A", "slot_serial": "8"}, {"slot_ok": "a", "slot_serial": "1"}} {
		b, err := env.Encode(Size)
		if err != nil {
			t.Fatal(err)
		}
		if s, _, err := decode(b); err == nil {
			t.Errorf("%v is %v", env, s)
		}
	}
	b, _ := Env{"slot_ok": "A", "slot_serial": "1", "slot_try": "C", "later": "x"}.Encode(Size)
	if s, serial, err := decode(b); err != nil || s != (State{OK: SlotA}) || serial != 1 {
		t.Errorf("%v, %d, %v", s, serial, err)
	}
}

func TestWritesAlternateOverTheWrap(t *testing.T) {
	m := fresh(t)
	states := []State{{OK: SlotA, Try: SlotB}, {OK: SlotA}, {OK: SlotB}}
	for i := range 3 * serials {
		s, before := states[i%len(states)], m.clone()
		if err := Write(m, layout, s); err != nil {
			t.Fatal(err)
		}
		if got := Read(m, layout); got.State != s || got.Problem() != nil {
			t.Fatalf("write %d: %v", i, got)
		}
		changed, kept := layout.Offsets[1-i%2]/sector, layout.Offsets[i%2]/sector
		if before.sectors[changed] == m.sectors[changed] || before.sectors[kept] != m.sectors[kept] {
			t.Fatalf("write %d went to the newest copy", i)
		}
		if m.writes != i+1 || m.syncs != i+1 {
			t.Fatalf("write %d: %d writes and %d syncs so far", i, m.writes, m.syncs)
		}
	}
	if err := Write(m, layout, Read(m, layout).State); err != nil || m.writes != 3*serials {
		t.Errorf("the same state was written again, %v", err)
	}
}

func TestWriteRepairsTheBrokenCopy(t *testing.T) {
	for _, serials := range [][2]int{{-1, 3}, {3, -1}, {-1, -1}} {
		m, s := fresh(t), State{OK: SlotB}
		m.put(t, 0, s, serials[0])
		m.put(t, 1, s, serials[1])
		for range 2 {
			if err := Write(m, layout, s); err != nil {
				t.Fatal(err)
			}
		}
		if r := Read(m, layout); r.State != s || r.Problem() != nil {
			t.Errorf("serials %v: %+v", serials, r)
		}
	}
}

// A power cut leaves any of the sectors in flight written, not written, torn or
// as noise. All subsets of the sectors are made.
func TestPowerCutLeavesOldOrNewState(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	for before := range 10 { // serials of the newest copy, over the wrap
		m := fresh(t)
		old, next := State{OK: SlotA}, State{OK: SlotB, Try: SlotA}
		for i := range before {
			old = State{OK: SlotA, Try: []string{SlotB, ""}[i%2]}
			if err := Write(m, layout, old); err != nil {
				t.Fatal(err)
			}
		}
		start := m.clone()
		m.pending = nil
		if err := Write(m, layout, next); err != nil {
			t.Fatal(err)
		}
		states, news := 0, 0
		check := func(what string, d *medium) {
			t.Helper()
			states++
			switch got := Read(d, layout).State; got {
			case next:
				news++
			case old:
			default:
				t.Fatalf("after %d writes, %s: %+v, neither old nor new", before, what, got)
			}
			for _, s := range []State{next, old} {
				if err := Write(d, layout, s); err != nil || Read(d, layout).State != s {
					t.Fatalf("after %d writes, %s: cannot be changed again: %v", before, what, err)
				}
			}
		}
		if len(m.pending) != Size/sector {
			t.Fatalf("%d sectors written", len(m.pending))
		}
		for subset := range 1 << len(m.pending) {
			var written []piece
			for i, p := range m.pending {
				if subset>>i&1 == 1 {
					written = append(written, p)
				}
			}
			check("some sectors", start.with(written...))
		}
		for i, p := range m.pending {
			torn := piece{p.sector, start.sectors[p.sector]}
			for cut := range sector {
				torn.data[cut] = p.data[cut]
				if cut%32 != 5 {
					continue
				}
				check("a torn sector", start.with(append(slices.Clone(m.pending[:i]), torn)...))
				check("a torn sector, others written", start.with(append(slices.Clone(m.pending), torn)...))
			}
			for j := range p.data {
				torn.data[j] = byte(noise.Uint32())
			}
			check("noise", start.with(append(slices.Clone(m.pending), torn)...))
		}
		if news == 0 || news == states {
			t.Errorf("of %d states %d are new", states, news)
		}
	}
}

func TestStateThatDoesNotReachTheMediumIsAnError(t *testing.T) {
	for _, operation := range []string{"read", "write", "sync"} {
		m := fresh(t)
		m.fail = map[string]error{operation: errors.New("medium failed")}
		if err := Write(m, layout, State{OK: SlotB}); err == nil || !strings.Contains(err.Error(), "medium failed: check the disk") {
			t.Errorf("%s: %v", operation, err)
		}
	}
	m := fresh(t)
	m.lose = true
	if err := Write(m, layout, State{OK: SlotB}); err == nil || !strings.Contains(err.Error(), "reads back as something else") {
		t.Error(err)
	}
}

func TestDiskThatIsTooShortHasBrokenCopies(t *testing.T) {
	r := Read(fresh(t), Layout{Offsets: [2]int64{space, space + MinDistance}})
	if r.OK != SlotA || r.Problems[0] == nil || r.Problems[1] == nil {
		t.Errorf("%+v", r)
	}
}

func TestLayoutsAPowerCutCouldBreakAreRefused(t *testing.T) {
	for _, offsets := range [][2]int64{{0, 8 << 20}, {8 << 20, 0}, {1 << 20, 1 << 20}, {1 << 20, 5<<20 - Size}, {5<<20 - Size, 1 << 20}, {1<<20 + 512, 8 << 20}, {-MinDistance, 8 << 20}} {
		m := fresh(t)
		if err := Write(m, Layout{Offsets: offsets}, State{OK: SlotB}); err == nil || m.writes != 0 {
			t.Errorf("%v: %v", offsets, err)
		}
	}
	if err := layout.Check(); err != nil {
		t.Error(err)
	}
	if err := Write(fresh(t), layout, State{OK: "C"}); err == nil {
		t.Error("slot C was accepted")
	}
}
