package lan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var (
	all = address{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	ofA = address{0x52, 1}
	ofB = address{0x52, 2}
)

func framed(to, from address, text string) []byte {
	frame := slices.Concat(to[:], from[:], []byte(text))
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// gets reads what has to come next.
func gets(t *testing.T, name string, conn net.Conn, want ...[]byte) {
	t.Helper()
	all := slices.Concat(want...)
	got := make([]byte, len(all))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, all) {
		t.Errorf("%s got %q, want %q: %v", name, got, all, err)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// members waits until so many machines are on the segment.
func members(t *testing.T, h *Switch, n int) {
	t.Helper()
	var now int
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		now = len(h.machines)
		h.mu.Unlock()
		if now == n {
			return
		}
	}
	t.Fatalf("%d machines are on the segment, want %d", now, n)
}

func TestAMachineGetsWhatIsForIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan")
	h, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := dial(t, path), dial(t, path), dial(t, path)
	members(t, h, 3)
	hello := framed(all, ofA, "hello")
	a.Write(framed(ofB, ofA, "to one that nobody has heard of"))
	a.Write(hello)
	gets(t, "b", b, hello)
	gets(t, "c", c, hello)
	answer := framed(ofA, ofB, "")
	b.Write(answer)
	gets(t, "a", a, answer)
	more := framed(ofB, ofA, "more")
	a.Write(more)
	gets(t, "b", b, more)
	// Of all that c got nothing.
	last := framed(all, ofA, "last")
	a.Write(last)
	gets(t, "c", c, last)
	gets(t, "b", b, last)

	// One that breaks the protocol is cut off, one that leaves is not missed.
	b.Write(binary.BigEndian.AppendUint32(nil, maxFrame+1))
	if n, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a frame too long is read: %d bytes, %v", n, err)
	}
	members(t, h, 2)
	c.Close()
	members(t, h, 1)

	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := io.ReadAll(a); err != nil {
		t.Errorf("a machine is left on: %v", err)
	}
}

// One that the listener took just before it was closed.
func TestAMachineThatComesAtTheEndIsSentAway(t *testing.T) {
	s, err := Listen(filepath.Join(t.TempDir(), "lan"))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	own, peer := net.Pipe()
	if m := s.join(own); m != nil {
		t.Error("it was taken on")
	}
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("its connection: %v", err)
	}
}

// A machine that does not read does not hold up the others.
func TestASlowMachineLosesFrames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan")
	h, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	dial(t, path) // reads nothing
	a, b := dial(t, path), dial(t, path)
	members(t, h, 3)
	frame := framed(all, ofA, string(make([]byte, 60<<10)))
	for range 4 * waiting {
		if _, err := a.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, frame); err != nil {
			t.Fatal(err)
		}
	}
}

// A machine cannot take the room for the addresses of others.
func TestAMachineThatMakesUpAddressesHarmsItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan")
	h, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	a, b, c := dial(t, path), dial(t, path), dial(t, path)
	members(t, h, 3)
	for n := range 4 * maxAddresses {
		frame := framed(all, address{0x52, 9, byte(n >> 8), byte(n)}, "")
		a.Write(frame)
		gets(t, "b", b, frame)
		gets(t, "c", c, frame)
	}
	h.mu.Lock()
	if n := len(h.places); n != maxAddresses {
		t.Errorf("%d addresses are learnt, want %d", n, maxAddresses)
	}
	h.mu.Unlock()
	hello := framed(all, ofB, "hello")
	b.Write(hello)
	gets(t, "a", a, hello)
	gets(t, "c", c, hello)
	answer := framed(ofB, address{0x52, 3}, "answer")
	c.Write(answer)
	gets(t, "b", b, answer)
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "node.disk")
	if err := os.WriteFile(name, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(name); err == nil {
		s.Close()
		t.Error("a network is made where a file is")
	}
	if contents, err := os.ReadFile(name); err != nil || string(contents) != "data" {
		t.Errorf("of the file there is %q: %v", contents, err)
	}
}

func TestASegmentIsServedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan")
	h, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrExists) {
		t.Errorf("a second switch: %v", err)
	}
	// A switch that was killed leaves its socket.
	h.listener.(*net.UnixListener).SetUnlinkOnClose(false)
	h.Close()
	again, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := Listen(filepath.Join(path, "nowhere")); err == nil || errors.Is(err, ErrExists) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
