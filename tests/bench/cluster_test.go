package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rows returns the cells of a page's tables by their first one.
func rows(p *page) map[string][]string {
	found := map[string][]string{}
	for line := range strings.Lines(p.String()) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		found[cells[0]] = cells[1:]
	}
	return found
}

func TestControlPlanesAreComparedByTheirMedians(t *testing.T) {
	start := func(factor time.Duration) startTimes {
		return startTimes{ready: 4 * factor, account: 5 * factor, bound: 6 * factor, cpu: 3 * factor}
	}
	idle := func(factor float64) []idleFigures {
		return []idleFigures{{rss: 100 * factor * (1 << 20), pss: 50 * factor * (1 << 20), cpu: factor, written: 10 * factor * (1 << 10)}}
	}
	m := clusterFigures{
		kubernetes: "v1.2.3", etcd: "v4.5.6", idle: 3 * time.Minute,
		skerry:      clusterSide{first: []startTimes{start(time.Second), start(9 * time.Second), start(time.Second)}, again: []startTimes{start(time.Second)}, one: idle(1), many: idle(3)},
		stock:       clusterSide{first: []startTimes{start(2 * time.Second)}, again: []startTimes{start(time.Second)}, one: idle(4), many: idle(6)},
		skerryBytes: 100e6, controlBytes: 200e6, nodeBytes: 400e6,
	}
	var p page
	m.write(&p)
	got := rows(&p)
	for what, want := range map[string][]string{
		"ready, no data":                          {"4.00 s (4.00–36.00)", "8.00 s", "0.50×", "≤ 0.7×"},
		"default ServiceAccount, no data":         {"5.00 s (5.00–45.00)", "10.00 s", "0.50×", "≤ 0.7×"},
		"Pod bound, no data":                      {"6.00 s (6.00–54.00)", "12.00 s", "0.50×", "≤ 0.7×"},
		"Pod bound, data of before":               {"6.00 s", "6.00 s", "1.00×", "≤ 0.7×"},
		"– processor time until then, no data":    {"3.00 s (3.00–27.00)", "6.00 s", "0.50×", ""},
		"RSS, 1 Pod":                              {"100.0 MiB", "400.0 MiB", "0.25×"},
		"PSS, 30 Pods":                            {"150.0 MiB", "300.0 MiB", "0.50×"},
		"processor time a minute, 1 Pod":          {"1.00 s", "4.00 s", "0.25×"},
		"written a minute, 30 Pods":               {"30.0 KiB", "60.0 KiB", "0.50×"},
		"control plane":                           {"100.0 MB", "200.0 MB", "0.50×"},
		"with kubelet, kube-proxy and containerd": {"100.0 MB", "400.0 MB", "0.25×"},
	} {
		if diff := cmp.Diff(want, got[what]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if text := p.String(); !strings.Contains(text, "v1.2.3") || !strings.Contains(text, "v4.5.6") || strings.Contains(text, "started again") {
		t.Error(text)
	}
}

func TestComponentsThatHadToBeStartedAgainAreTold(t *testing.T) {
	m := clusterFigures{stock: clusterSide{first: []startTimes{{restarts: 2}}, again: []startTimes{{restarts: 1}}}}
	var p page
	m.write(&p)
	if text := p.String(); !strings.Contains(text, "skerry 0 times, stock 3 times") {
		t.Error(text)
	}
}
