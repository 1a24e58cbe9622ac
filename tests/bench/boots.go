package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// The budgets of boots.
const (
	ratioBudget  = "< 1"
	memoryOfPID1 = "≤ 30 MiB"
)

// measureBoots boots each board's image on a fresh disk and then once more on
// the same one: the first boot makes partition data. The cluster, which takes
// minutes to start, has a part of its own.
func measureBoots(ctx context.Context, s *session) error {
	w, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	var t table
	t.row("board", "boot", "kernel", "agent", "agent/kernel", "network aside", "power to node up", "agent's memory")
	for _, board := range boards {
		b, err := w.build(ctx, board, filepath.Join(s.work, "boot-"+board), withoutCluster...)
		if err != nil {
			return err
		}
		var first, later []bootTimes
		for run := range s.boots {
			s.logf("boots of %s, run %d of %d", board, run+1, s.boots)
			if first, later, err = s.bootTwice(ctx, b, first, later); err != nil {
				return fmt.Errorf("boot %s: %w", board, err)
			}
		}
		t.row(append([]string{board, "first"}, bootColumns(first)...)...)
		t.row(append([]string{board, "later"}, bootColumns(later)...)...)
	}
	s.page.heading(2, "Boots")
	s.page.paragraph("Images without the cluster under QEMU as `builder run` runs them, one machine at a time; boots of each kind: %d. Kernel and agent are "+
		"the times that the node itself shows; kernel time begins when the firmware is done. Power to node up is by the host's clock, with the "+
		"firmware. The agent's memory is VmRSS of process 1 when the node is up, pages of its program file included. "+
		"Budgets: agent/kernel %s, memory when idle %s.", s.boots, ratioBudget, memoryOfPID1)
	t.write(s.page)
	return nil
}

// bootTwice adds a first and a later boot of one disk.
func (s *session) bootTwice(ctx context.Context, b built, first, later []bootTimes) (_, _ []bootTimes, err error) {
	machine, remove, err := s.newMachine(ctx, b, 0, "")
	if err != nil {
		return nil, nil, err
	}
	defer remove()
	for _, times := range []*[]bootTimes{&first, &later} {
		one, err := boot(ctx, machine)
		if err != nil {
			return nil, nil, err
		}
		*times = append(*times, one)
	}
	return first, later, nil
}

func bootColumns(boots []bootTimes) []string {
	ratios := pick(boots, func(b bootTimes) float64 { return b.agent.Seconds() / max(b.kernel, time.Millisecond).Seconds() })
	return []string{
		seconds(pick(boots, func(b bootTimes) float64 { return b.kernel.Seconds() })),
		seconds(pick(boots, func(b bootTimes) float64 { return b.agent.Seconds() })),
		fmt.Sprintf("%.2f", median(ratios)),
		seconds(pick(boots, func(b bootTimes) float64 { return b.network.Seconds() })),
		seconds(pick(boots, func(b bootTimes) float64 { return b.up.Seconds() })),
		mib(median(pick(boots, func(b bootTimes) float64 { return b.memory }))),
	}
}
