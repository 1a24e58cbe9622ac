package network

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"
)

var (
	errNoAnswer = errors.New("no answer")
	errKicked   = errors.New("the carrier came back")
	errExpired  = errors.New("the lease expired")
	errRefused  = errors.New("the server refused the address")
)

// retry gives the waits between attempts: 1, 2, 4, … seconds, at most the limit, each up to a fifth shorter, so that
// nodes that get power at the same moment do not ask at the same moment.
type retry struct {
	first, limit time.Duration
	next         time.Duration
}

func (r *retry) wait() time.Duration {
	if r.next == 0 {
		r.next = r.first
	}
	d := min(r.next, r.limit)
	r.next = min(2*r.next, r.limit)
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

func (r *retry) reset() { r.next = 0 }

// sleep waits for d. It returns errKicked when kick fires, and the context's cause when that ends.
func sleep(ctx context.Context, d time.Duration, kick <-chan struct{}) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-kick:
		return errKicked
	case <-timer.C:
		return nil
	}
}

// Lease times are in the hands of the server. These keep a wrong one from making the client spin.
const (
	minLease = 60 * time.Second
	minT1    = minLease / 2
	// minRetransmit is the shortest time between two attempts to extend a lease.
	minRetransmit = 10 * time.Second
)

// leaseTimes makes T1 < T2 < lifetime of what a server says, with defaults at the given fractions (in eighths of the
// lifetime) for values that are missing or in the wrong order.
func leaseTimes(t1, t2, lifetime time.Duration, eighths1, eighths2 int64) (time.Duration, time.Duration, time.Duration) {
	lifetime = max(lifetime, minLease)
	if t1 < minT1 || t1 >= lifetime {
		t1 = max(lifetime/8*time.Duration(eighths1), minT1)
	}
	if t2 <= t1 || t2 >= lifetime {
		t2 = lifetime / 8 * time.Duration(eighths2)
	}
	if t2 <= t1 {
		t2 = t1 + (lifetime-t1)/2
	}
	return t1, t2, lifetime
}

// retransmit is the wait before the next attempt to extend a lease, with the deadline of this way of asking in left:
// half of it, but not less than minRetransmit (RFC 2131 section 4.4.5 has 60 s, too much for short leases).
func retransmit(left time.Duration) time.Duration {
	return min(max(left/2, minRetransmit), left)
}

// maxListed bounds how many servers, domains or routes of one server are taken.
const maxListed = 16

// domains returns those of names that are host names by their letters. A name goes into resolv.conf: a server that
// puts a line break into one would otherwise write lines there.
func domains(names []string) (valid []string) {
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(strings.TrimRight(n, "\x00"), "."))
		if domain(n) && len(valid) < maxListed {
			valid = appendNew(valid, n)
		}
	}
	return valid
}

func domain(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// unicasts returns the addresses of list that a host can have.
func unicasts[T ~[]byte](list []T) (valid []netip.Addr) {
	for _, raw := range list {
		if a, ok := netip.AddrFromSlice(raw); ok && unicast(a.Unmap()) && len(valid) < maxListed {
			valid = appendNew(valid, a.Unmap())
		}
	}
	return valid
}

// unicast tells whether a host on the network can have the address.
func unicast(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() {
		return false
	}
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first < 240
	}
	return true
}
