package network

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

const (
	// Refresh times of an Information-request (RFC 8415 section 7.6).
	defaultRefresh = 24 * time.Hour
	minRefresh     = 10 * time.Minute
)

// parseLease6 reads an Advertise or a Reply. Without an address in the identity association iaid it fails, unless the
// message answers an Information-request.
func parseLease6(m *dhcpv6.Message, iaid [4]byte, information bool) (*lease6, error) {
	l := &lease6{
		server:      m.Options.ServerID(),
		nameservers: unicasts(m.Options.DNS()),
		ntp:         unicasts(append(m.Options.NTPServers(), m.Options.SNTP()...)),
	}
	if labels := m.Options.DomainSearchList(); labels != nil {
		l.search = domains(labels.Labels)
	}
	if err := status(m.Options.Status()); err != nil {
		return nil, err
	}
	if information {
		l.t1 = max(m.Options.InformationRefreshTime(defaultRefresh), minRefresh)
		return l, nil
	}
	for _, ia := range m.Options.IANA() {
		if ia.IaId != iaid {
			continue
		}
		if err := status(ia.Options.Status()); err != nil {
			return nil, err
		}
		var preferred time.Duration
		for _, a := range ia.Options.Addresses() {
			ip, ok := netip.AddrFromSlice(a.IPv6Addr)
			// A lifetime of 0 takes an address back.
			if !ok || !unicast(ip) || ip.IsLinkLocalUnicast() || a.ValidLifetime == 0 || status(a.Options.Status()) != nil ||
				a.PreferredLifetime > a.ValidLifetime || len(l.addresses) == maxListed {
				continue
			}
			given := address{
				prefix: netip.PrefixFrom(ip, 128), preferred: a.PreferredLifetime, valid: max(a.ValidLifetime, minLease),
			}
			l.addresses = append(l.addresses, given)
			if l.lifetime == 0 || given.valid < l.lifetime {
				l.lifetime = given.valid
			}
			if preferred == 0 || given.preferred < preferred {
				preferred = given.preferred
			}
		}
		t1, t2 := ia.T1, ia.T2
		if t1 == 0 && preferred > 0 {
			t1 = preferred / 2 // before it is deprecated, as section 14.2 recommends
		}
		if t2 == 0 && preferred > 0 {
			t2 = preferred / 5 * 4
		}
		l.t1, l.t2, l.lifetime = leaseTimes(t1, t2, l.lifetime, 4, 6)
		break
	}
	if len(l.addresses) == 0 {
		return nil, errors.New("DHCPv6 server gives no address")
	}
	return l, nil
}

func status(s *dhcpv6.OptStatusCode) error {
	if s == nil || s.StatusCode == iana.StatusSuccess {
		return nil
	}
	return fmt.Errorf("%w: DHCPv6 status %s %q", errRefused, s.StatusCode, s.StatusMessage)
}
