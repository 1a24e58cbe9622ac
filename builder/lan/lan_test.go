package lan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func framed(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
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
func members(h *Hub, n int) {
	for {
		h.mu.Lock()
		now := len(h.machines)
		h.mu.Unlock()
		if now == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEachMachineGetsWhatTheOthersSend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan")
	h, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := dial(t, path), dial(t, path), dial(t, path)
	members(h, 3)
	for _, text := range []string{"first", "", "second"} {
		if _, err := a.Write(framed(text)); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(framed("of b"))
	want := joined(framed("first"), framed(""), framed("second"))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("b got %q: %v", got, err)
	}
	// a sent more than that, and gets none of it back.
	got = got[:len(framed("of b"))]
	if _, err := io.ReadFull(a, got); err != nil || !bytes.Equal(got, framed("of b")) {
		t.Errorf("a got %q: %v", got, err)
	}

	// One that breaks the protocol is cut off, one that leaves is not missed.
	b.Write(binary.BigEndian.AppendUint32(nil, maxFrame+1))
	if n, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a frame too long is read: %d bytes, %v", n, err)
	}
	members(h, 2)
	c.Close()
	members(h, 1)

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

func joined(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

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
	members(h, 3)
	frame := framed(string(make([]byte, 60<<10)))
	for range 4 * waiting {
		if _, err := a.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, frame); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASegmentIsServedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan")
	h, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrExists) {
		t.Errorf("a second hub: %v", err)
	}
	// A hub that was killed leaves its socket.
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
