package console

import (
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/agent/status"
)

// view is all that a screen is made of.
type view struct {
	status status.Status
	up     bool     // the boot is over
	log    []string // the latest lines, oldest first
}

// row of a screen before it has a place. When there are more than fit, those
// with the highest weight go first.
type row struct {
	label  string
	text   string
	style  style
	weight int
}

// Bounds of lists, in rows: a node with thirty addresses still shows its
// services.
const (
	maxAddressRows = 4
	maxServiceRows = 12
	minLogRows     = 3
	labelWidth     = 11
)

// layout draws a view on a screen of the given size. Everything foreign is made
// safe here.
func layout(v view, width, height int) *frame {
	f := newFrame(width, height)
	s := v.status
	end := f.put(0, 0, " Skerry "+orNone(s.Release, "")+"  "+orNone(s.Hostname, ""), title)
	f.fill(end, 0, ' ', title)
	if width >= 60 {
		right := orNone(s.Board, "") + "  slot " + orNone(s.Slot, "?") + " "
		if x := width - len(right); x > end {
			f.put(x, 0, right, title)
		}
	}

	rows := fit(rows(v), height-1)
	y := 1
	for _, r := range rows {
		f.put(1, y, r.label, label)
		f.put(labelWidth, y, r.text, r.style)
		y++
	}
	if height-y >= minLogRows+1 {
		f.fill(f.put(0, y, "── log ", dim), y, '─', dim)
		y++
		lines := v.log[max(0, len(v.log)-(height-y)):]
		for _, line := range lines {
			f.put(1, y, clean(line), plain)
			y++
		}
	}
	return f
}

// fit leaves rows out until they fit: of the heaviest weight, the last first.
func fit(rows []row, height int) []row {
	for len(rows) > height {
		out := 0
		for i, r := range rows {
			if r.weight >= rows[out].weight {
				out = i
			}
		}
		rows = append(rows[:out:out], rows[out+1:]...)
	}
	return rows
}

func rows(v view) []row {
	s := v.status
	all := []row{{weight: 9}} // space below the title
	all = append(all, row{"Name", orNone(s.Hostname, "no name yet"), plain, 1})
	all = append(all, list("Address", addressList(s.Addresses, self), "no address", maxAddressRows, 0)...)
	all = append(all, row{"Release", release(s), trialStyle(s), 2})
	all = append(all, phaseRow(v))
	all = append(all, row{"Node", nodeText(s), plain, 6}, row{"Data", data(s.Data), plain, 5}, clockRow(s))
	if s.Watchdog != "" {
		all = append(all, row{"Watchdog", clean(s.Watchdog), plain, 8})
	}
	if s.AgentMemory > 0 {
		all = append(all, row{"Agent", agent(s), plain, 8})
	}
	all = append(all, row{weight: 9})
	all = append(all, serviceRows(s.Services)...)
	return append(all, problemRow(s.Problems))
}

// list is a row for each text under one label; the first weighs weight, the
// others more.
func list(name string, texts []string, none string, most, weight int) []row {
	if len(texts) == 0 {
		return []row{{name, none, warn, weight}}
	}
	var all []row
	for i, text := range texts {
		if i == most-1 && len(texts) > most {
			text = fmt.Sprintf("and %d more", len(texts)-i)
		}
		if i == most {
			break
		}
		r := row{"", clean(text), plain, 7}
		if i == 0 {
			r.label, r.weight = name, weight
		}
		all = append(all, r)
	}
	return all
}

func nodeText(s status.Status) string {
	text := orNone(s.NodeID, "no id yet")
	if s.Boot > 0 {
		text += fmt.Sprintf(", boot %d", s.Boot)
	}
	return text
}

func trialStyle(s status.Status) style {
	if s.Trial {
		return warn
	}
	return plain
}

func phaseRow(v view) row {
	s := v.status
	switch {
	case v.up:
		return row{"Boot", "up: " + strings.TrimPrefix(bootTimes(s), "boot: "), good, 1}
	case s.Phase.Name == "":
		return row{"Boot", "starting", plain, 1}
	}
	return row{"Boot", fmt.Sprintf("phase %s (%d/%d)", clean(s.Phase.Name), s.Phase.Index, s.Phase.Count), plain, 1}
}

func clockRow(s status.Status) row {
	r := row{"Clock", clock(s), plain, 8}
	if !s.ClockSynchronised {
		r.style, r.weight = warn, 4
	}
	return r
}

// serviceRows is a row for each service; failed ones stay longest when there is
// no room.
func serviceRows(services []status.Service) []row {
	var all []row
	name := "Services"
	for i, service := range services {
		if i == maxServiceRows-1 && len(services) > maxServiceRows {
			all = append(all, row{name, fmt.Sprintf("and %d more", len(services)-i), plain, 3})
			break
		}
		r := row{name, clean(service.Name) + "  " + serviceState(service), plain, 3}
		switch service.State {
		case "running":
			r.style = good
		case "failed":
			r.style, r.weight = bad, 2
		}
		all = append(all, r)
		name = ""
	}
	return all
}

func problemRow(problems []status.Problem) row {
	if len(problems) == 0 {
		return row{"Problem", "none", plain, 6}
	}
	p := problems[0]
	text := clean(p.Source) + ": " + clean(p.Text)
	if more := len(problems) - 1; more > 0 {
		text = fmt.Sprintf("(%d more) %s", more, text)
	}
	return row{"Problem", text, bad, 0}
}
