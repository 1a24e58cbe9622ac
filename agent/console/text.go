package console

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/skerry-os/skerry/agent/status"
)

// clean makes foreign text (what services say, names from DHCP) safe to write
// to a terminal: it is one line of printable ASCII, and whatever else there was
// is a '?'. So no escape sequence passes, in 7 or in 8 bits, and every character
// is one cell wide on every screen.
func clean(s string) string {
	safe := true
	for i := 0; i < len(s) && safe; i++ {
		safe = s[i] >= ' ' && s[i] < 0x7f
	}
	if safe {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f:
			return '?'
		}
		return r
	}, s)
}

func phaseDone(p status.Phase, took time.Duration) string {
	return fmt.Sprintf("phase %s (%d/%d): done, %d ms", clean(p.Name), p.Index, p.Count, took.Milliseconds())
}

func phaseFailed(p status.Phase, err error, advice string) string {
	line := fmt.Sprintf("phase %s (%d/%d): failed: %s", clean(p.Name), p.Index, p.Count, clean(err.Error()))
	if advice != "" {
		line += ", " + clean(advice)
	}
	return line
}

// nodeUp is the last line of a good boot. It ends in what the service says that
// the node is for.
func nodeUp(s status.Status) string {
	line := fmt.Sprintf("skerry: node up: %s %s release %s slot %s", orNone(s.Hostname, "no name"), addresses(s), orNone(s.Release, "unknown"), orNone(s.Slot, "unknown"))
	for _, service := range s.Services {
		if service.Main && service.Status != "" {
			line += ": " + clean(service.Status)
		}
	}
	return line
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return clean(s)
}

// addresses are the node's, without prefix lengths and separated by commas.
// Those that reach nobody beyond the cable are named only when there is no
// other.
func addresses(s status.Status) string {
	list := strings.Join(addressList(s.Addresses, netip.Prefix.Addr), ",")
	return orNone(list, "no address")
}

func addressList[T fmt.Stringer](prefixes []netip.Prefix, part func(netip.Prefix) T) []string {
	var global, local []string
	for _, p := range prefixes {
		switch addr := p.Addr(); {
		case !addr.IsValid() || addr.IsLoopback():
		case addr.IsLinkLocalUnicast():
			local = append(local, part(p).String())
		default:
			global = append(global, part(p).String())
		}
	}
	if len(global) == 0 {
		return local
	}
	return global
}

// bootTimes says where the boot's time went: the last two are waits, which are
// not the agent's doing and not in its time.
func bootTimes(s status.Status) string {
	return fmt.Sprintf("boot: kernel %.2f s, agent %.2f s, network %.2f s, services %.2f s",
		s.KernelTime.Seconds(), s.AgentTime.Seconds(), s.NetworkWait.Seconds(), s.ServiceWait.Seconds())
}

// block is the status as a serial line shows it before the last line of a boot.
func block(s status.Status) []string {
	var lines []string
	add := func(label, text string) { lines = append(lines, fmt.Sprintf("  %-9s %s", label, text)) }
	node := orNone(s.NodeID, "no id yet")
	if s.Boot > 0 {
		node += fmt.Sprintf(", boot %d", s.Boot)
	}
	add("node", node)
	add("release", release(s))
	add("network", orNone(strings.Join(addressList(s.Addresses, self), ", "), "no address"))
	add("data", data(s.Data))
	add("clock", clock(s))
	if s.Watchdog != "" {
		add("watchdog", clean(s.Watchdog))
	}
	if s.AgentMemory > 0 {
		add("agent", agent(s))
	}
	label := "services"
	for _, service := range s.Services {
		add(label, cut(clean(service.Name)+" "+serviceState(service)))
		label = ""
	}
	label = "problems"
	for _, p := range s.Problems {
		add(label, clean(p.Source)+": "+clean(p.Text))
		label = ""
	}
	return append(lines, bootTimes(s))
}

// maxServiceText bounds what a service says of itself on a serial line, in
// bytes.
const maxServiceText = 100

func cut(s string) string {
	if len(s) <= maxServiceText {
		return s
	}
	return s[:maxServiceText-3] + "..."
}

func self(p netip.Prefix) netip.Prefix { return p }

func release(s status.Status) string {
	text := fmt.Sprintf("%s for %s, slot %s", orNone(s.Release, "unknown"), orNone(s.Board, "unknown board"), orNone(s.Slot, "unknown"))
	if s.Trial {
		text += ", on trial"
	}
	return text
}

func clock(s status.Status) string {
	if s.ClockSynchronised {
		return "synchronised"
	}
	return "not synchronised"
}

func agent(s status.Status) string { return "memory " + size(s.AgentMemory) }

func serviceState(s status.Service) string {
	if s.Status == "" {
		return clean(s.State)
	}
	return clean(s.State) + ": " + clean(s.Status)
}

func data(d status.Data) string {
	if d.Device == "" {
		return "none"
	}
	return fmt.Sprintf("%s, %s of %s used", clean(d.Device), size(d.Used), size(d.Size))
}

// size prints bytes in the largest unit that leaves a number of at least 1.
func size(n int64) string {
	value, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for value >= 1024 && len(units) > 1 {
		value /= 1024
		units = units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}
