package config

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestAnAddressIsWaitedForUntilThereIsOne(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		err           error
		found, waited bool
		want          error
	}{
		"there is one":            {found: true},
		"there is none":           {err: errNoAddress, waited: true},
		"interfaces come and go":  {err: netlink.ErrDumpInterrupted},
		"the kernel does not say": {err: refused, want: refused},
	} {
		var config Config
		waited := false
		found, err := config.address(func() (netip.Addr, error) { return netip.MustParseAddr("192.0.2.7"), c.err }, func() { waited = true })
		if found != c.found || waited != c.waited || !errors.Is(err, c.want) {
			t.Errorf("%s: found %v, waited %v, %v", name, found, waited, err)
		}
		if found && config.NodeIP != "192.0.2.7" {
			t.Errorf("%s: the address is %q", name, config.NodeIP)
		}
	}
}
