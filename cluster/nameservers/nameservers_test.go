package nameservers

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyServersThatAPodCanAskAreForwardedTo(t *testing.T) {
	for name, c := range map[string]struct{ contents, want string }{
		"nothing":                 {"", ""},
		"comments and options":    {"# nameserver 192.0.2.1\n; x\nsearch example.com\noptions ndots:5\n", ""},
		"two servers":             {"nameserver 192.0.2.1\nnameserver\t2001:db8::1\n", "192.0.2.1 2001:db8::1"},
		"the machine itself":      {"nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n", ""},
		"the cluster itself":      {"nameserver 10.43.0.10\nnameserver 192.0.2.1\n", "192.0.2.1"},
		"its address in IPv6":     {"nameserver ::ffff:10.43.0.10\n", ""},
		"a link's own address":    {"nameserver fe80::1%eth0\nnameserver 169.254.169.253\n", "169.254.169.253"},
		"twice the same":          {"nameserver 192.0.2.1\nnameserver 192.0.2.1 # again\n", "192.0.2.1"},
		"no address":              {"nameserver example.com\nnameserver\nnameserver 192.0.2.1}\n", ""},
		"more than CoreDNS takes": {strings.Repeat("nameserver 192.0.2.1\n", 3) + many(40), strings.Join(strings.Fields("192.0.2.1 "+strings.ReplaceAll(many(14), "nameserver ", "")), " ")},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, addr := range parse([]byte(c.contents), []netip.Addr{netip.MustParseAddr("10.43.0.10")}) {
				got = append(got, addr.String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	addr := netip.MustParseAddr("198.51.100.1")
	for range n {
		b.WriteString("nameserver " + addr.String() + "\n")
		addr = addr.Next()
	}
	return b.String()
}

func TestTheFolderFollowsTheNodesFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := []string{filepath.Join(t.TempDir(), "resolv.conf"), filepath.Join(t.TempDir(), "resolved.conf")}
		dir := filepath.Join(t.TempDir(), "nameservers")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, files, dir) }()
		expect := func(want string) {
			t.Helper()
			time.Sleep(every + time.Second)
			got, err := os.ReadFile(filepath.Join(dir, File))
			if err != nil || string(got) != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
		set := func(i int, contents string) {
			if err := os.WriteFile(files[i], []byte(contents), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		const none = "# This node knows no name server.\n"
		expect(none)
		set(0, "nameserver 192.0.2.1\n")
		expect("forward . 192.0.2.1\n")
		set(0, "nameserver 127.0.0.53\n")
		set(1, "nameserver 192.0.2.2\n")
		expect("forward . 192.0.2.2\n")
		os.Remove(files[1])
		expect(none)
		if status, err := os.Stat(filepath.Join(dir, File)); err != nil || status.Mode().Perm() != 0o644 {
			t.Errorf("others may not read it: %v, %v", status.Mode(), err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nnameserver fe80::1%a}b\n"))
	f.Fuzz(func(t *testing.T, contents []byte) {
		// Nothing but addresses may get into the Corefile.
		line := strings.TrimPrefix(string(forward(parse(contents, nil))), "forward .")
		if strings.HasPrefix(line, "#") {
			return
		}
		for _, word := range strings.Fields(line) {
			if addr, err := netip.ParseAddr(word); err != nil || addr.Zone() != "" {
				t.Errorf("%q", word)
			}
		}
	})
}
