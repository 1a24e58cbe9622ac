package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ntpServer answers on loopback with what change makes of a good answer (RFC 5905 section 7.3), whose clock is
// ahead by off. It returns its address.
func ntpServer(t *testing.T, off time.Duration, change func([]byte) []byte) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stamp := func(b []byte, at time.Time) {
		const era = 2208988800 // seconds from 1900 to 1970
		binary.BigEndian.PutUint32(b, uint32(at.Unix()+era))
		binary.BigEndian.PutUint32(b[4:], uint32(uint64(at.Nanosecond())<<32/1e9))
	}
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			b := make([]byte, 48)
			now := time.Now().Add(off)
			b[0], b[1], b[2], b[3] = 4<<3|4, 2, 6, 0xe9 // version 4, server; stratum 2; poll; precision 2^-23
			copy(b[24:32], buf[40:48])                  // origin: the client's transmit time
			stamp(b[16:], now.Add(-time.Minute))
			stamp(b[32:], now)
			stamp(b[40:], now)
			if change != nil {
				b = change(b)
			}
			_, _ = conn.WriteToUDP(b, from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestQueryMeasuresTheOffset(t *testing.T) {
	for _, off := range []time.Duration{0, time.Hour, -time.Hour, 24 * 365 * time.Hour} {
		s, err := query(t.Context(), ntpServer(t, off, nil))
		if err != nil {
			t.Fatal(err)
		}
		if d := (s.Offset - off).Abs(); d > s.RootDistance+time.Second {
			t.Errorf("offset %s, want %s", s.Offset, off)
		}
	}
}

func TestQueryRefusesNonsense(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"not synchronised":   func(b []byte) []byte { b[0] |= 3 << 6; return b },
		"stratum 16":         func(b []byte) []byte { b[1] = 16; return b },
		"wrong by a minute":  func(b []byte) []byte { binary.BigEndian.PutUint16(b[8:], 60); return b },
		"wrong by 6 s":       func(b []byte) []byte { binary.BigEndian.PutUint16(b[8:], 6); return b },
		"answer to another":  func(b []byte) []byte { b[24] ^= 1; return b },
		"a client's message": func(b []byte) []byte { b[0] = 4<<3 | 3; return b },
		"no transmit time":   func(b []byte) []byte { clear(b[40:48]); return b },
		"not set for three days": func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[16:], binary.BigEndian.Uint32(b[40:])-3*86400)
			return b
		},
	} {
		if s, err := query(t.Context(), ntpServer(t, 0, change)); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	_, err := query(t.Context(), ntpServer(t, 0, func(b []byte) []byte { b[1] = 0; copy(b[12:], "RATE"); return b }))
	var kiss kissError
	if !errors.As(err, &kiss) || kiss.code != "RATE" {
		t.Errorf("kiss-o'-death is %v", err)
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := query(ctx, conn.LocalAddr().String())
		done <- err
	}()
	if _, _, err := conn.ReadFromUDP(make([]byte, 64)); err != nil { // the question has left
		t.Fatal(err)
	}
	began := time.Now()
	cancel()
	if err := <-done; err == nil {
		t.Error("an answer from nobody")
	}
	if d := time.Since(began); d > queryTimeout/2 {
		t.Errorf("ended after %s", d)
	}
}

func TestResolveTakesAddressesAsTheyAre(t *testing.T) {
	for server, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:123", "2001:db8::1": "[2001:db8::1]:123", "[2001:db8::1]": "[2001:db8::1]:123",
		"192.0.2.1:1123": "192.0.2.1:1123", "fe80::1%eth0": "[fe80::1%eth0]:123",
	} {
		if got, err := resolve(t.Context(), server); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v, want %s", server, got, err, want)
		}
	}
}

func TestMostServersAreBelieved(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name    string
		samples []Sample
		want    string
	}{
		{"one", []Sample{{"a", time.Hour, 50 * ms}}, "a"},
		{"the closest of those that agree", []Sample{{"a", 5 * ms, 50 * ms}, {"b", 0, 10 * ms}, {"c", 20 * ms, 30 * ms}}, "b"},
		{"two against one", []Sample{{"liar", time.Hour, ms}, {"a", 0, 50 * ms}, {"b", 10 * ms, 40 * ms}}, "b"},
		{"two against one, in another order", []Sample{{"a", 0, 50 * ms}, {"b", 10 * ms, 40 * ms}, {"liar", -time.Hour, ms}}, "b"},
		{"one against one: the closer", []Sample{{"far", 0, 900 * ms}, {"near", time.Hour, ms}}, "near"},
	} {
		if got, err := choose(c.samples); err != nil || got.Server != c.want {
			t.Errorf("%s: %s, %v, want %s", c.name, got.Server, err, c.want)
		}
	}
	if _, err := choose(nil); err == nil {
		t.Error("a choice from nothing")
	}
}

func TestSlowServersAreNotWaitedFor(t *testing.T) {
	onMachine(t, -time.Hour, Options{Servers: []string{"a", "slow"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		inner := c.options.query
		c.options.query = func(ctx context.Context, address string) (Sample, error) {
			if address == "slow" {
				select {
				case <-time.After(queryTimeout):
				case <-ctx.Done():
				}
				return Sample{}, fmt.Errorf("i/o timeout")
			}
			return inner(ctx, address)
		}
		defer running(t, c)()
		pass(grace)
		if !c.Synchronised() {
			t.Errorf("not synchronised %s after the first answer", grace)
		}
	})
}

func TestManyAddressesAreNotAllAsked(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"pool"}}, func(t *testing.T, m *machine, c *Clock) {
		c.options.resolve = func(context.Context, string) ([]string, error) {
			var list []string
			for n := range 100 {
				list = append(list, fmt.Sprint(n), fmt.Sprint(n))
			}
			return list, nil
		}
		defer running(t, c)()
		if n := len(m.queries); n != maxAddresses {
			t.Errorf("%d addresses were asked", n)
		}
	})
}

func TestTimexValues(t *testing.T) {
	step := stepTimex(-1500 * time.Millisecond)
	if step.Modes != unix.ADJ_SETOFFSET || step.Time.Sec != -2 || step.Time.Usec < 500000 || step.Time.Usec > 500001 {
		t.Errorf("step by -1.5 s: %+v", step) // adjtimex(2): tv_usec is not negative; it is rounded up
	}
	slew := slewTimex(-3*time.Millisecond, 64*time.Second, 20*time.Millisecond)
	if slew.Offset != -3000000 || slew.Constant != 2 || slew.Status != unix.STA_PLL || slew.Maxerror != 20000 || slew.Esterror != 3000 {
		t.Errorf("slew by -3 ms: %+v", slew)
	}
	if c := slewTimex(0, 1024*time.Second, 0).Constant; c != 6 {
		t.Errorf("time constant for 1024 s is %d, want 6", c)
	}
	if e := slewTimex(0, time.Second, time.Hour); e.Maxerror >= 16e6 || e.Constant != 0 {
		t.Errorf("slew with a large error: %+v", e)
	}
}

func TestHardwareClockFields(t *testing.T) {
	at := time.Date(2028, 2, 29, 23, 59, 58, 0, time.UTC)
	r := toRTC(at.In(time.FixedZone("", 3600)))
	want := unix.RTCTime{Sec: 58, Min: 59, Hour: 23, Mday: 29, Mon: 1, Year: 128, Wday: 2, Yday: 59}
	if *r != want {
		t.Errorf("fields %+v, want %+v", *r, want)
	}
	r.Wday, r.Yday = 0, 0 // drivers leave them out
	if got, err := fromRTC(r); err != nil || !got.Equal(at) {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []unix.RTCTime{{}, {Mday: 31, Mon: 1, Year: 126}, {Mday: 1, Mon: 12, Year: 126}, {Mday: 1, Hour: 24, Year: 126}} {
		if got, err := fromRTC(&bad); err == nil {
			t.Errorf("%+v is read as %s", bad, got)
		}
	}
	if _, err := Device("/nonexistent/rtc0").Read(); !noRTC(err) {
		t.Errorf("a board without a hardware clock: %v", err)
	}
}
