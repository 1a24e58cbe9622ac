package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The budgets of builds.
const (
	unchangedBudget = "≤ 5 s"
	configBudget    = "≤ 5 s"
	agentBudget     = "≤ 20 s"
	memoryBudget    = "≤ 1 GiB"
)

// builds are the measured runs of each kind, in the order they were made.
type builds struct {
	first                    built
	agent, unchanged, config []usage
	agentSteps, coldSteps    string
	floor                    []usage
	floorBytes               int64
	mkosi                    []usage
	mkosiBytes               int64
	mkosiMissing             error
	cold                     *usage
}

// measureBuilds measures builds of board x86_64. Kinds take turns, so that what
// else the machine does meets all of them.
func measureBuilds(ctx context.Context, s *session) error {
	w, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	var m builds
	if m.first, err = w.build(ctx, "x86_64", filepath.Join(s.work, "release")); err != nil {
		return err
	}
	floor, err := newFloor(ctx, s, m.first.file("slot"))
	if err != nil {
		return err
	}
	rival, err := newMkosi(ctx, s)
	m.mkosiMissing = err
	if ctx.Err() != nil {
		return ctx.Err()
	}
	before := m.first
	for run := range s.runs {
		s.logf("builds, run %d of %d", run+1, s.runs)
		if before, err = m.turn(ctx, w, run, before); err != nil {
			return err
		}
		u, bytes, err := floor.make(ctx)
		if err != nil {
			return err
		}
		m.floor, m.floorBytes = append(m.floor, u), bytes
		if m.mkosiMissing != nil || run >= maxMkosiRuns {
			continue
		}
		u, bytes, err = rival.build(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			m.mkosiMissing = err
			continue
		}
		m.mkosi, m.mkosiBytes = append(m.mkosi, u), bytes
	}
	if err := os.Remove(filepath.Join(w.sources, changedFile)); err != nil {
		return err
	}
	if s.cold {
		if err := m.measureCold(ctx, w); err != nil {
			return err
		}
	}
	m.write(s.page)
	return nil
}

// turn builds once after each kind of change, and checks that the change, and
// no other, is in the release: else the wrong thing was measured.
func (m *builds) turn(ctx context.Context, w *workshop, run int, before built) (built, error) {
	if err := changeAgent(w.sources, run); err != nil {
		return built{}, err
	}
	agent, err := w.build(ctx, "x86_64", before.dir)
	if err != nil {
		return built{}, err
	}
	if agent.digest("slot") == before.digest("slot") {
		return built{}, errors.New("the agent was changed, and the slot image was not")
	}
	unchanged, err := w.build(ctx, "x86_64", before.dir)
	if err != nil {
		return built{}, err
	}
	if unchanged.digest("img") != agent.digest("img") {
		return built{}, errors.New("nothing was changed, and the disk image was")
	}
	config := filepath.Join(w.work, "node.yaml")
	text := fmt.Sprintf("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\nhostname: bench-%d\n", run)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return built{}, err
	}
	configured, err := w.build(ctx, "x86_64", before.dir, "--config", config)
	if err != nil {
		return built{}, err
	}
	if configured.digest("img") == agent.digest("img") || configured.digest("slot") != agent.digest("slot") {
		return built{}, errors.New("the node config was changed, and the disk image was not, or more was")
	}
	m.agent, m.agentSteps = append(m.agent, agent.usage), agent.steps()
	m.unchanged = append(m.unchanged, unchanged.usage)
	m.config = append(m.config, configured.usage)
	return agent, nil
}

// measureCold builds once with a cache that has nothing.
func (m *builds) measureCold(ctx context.Context, w *workshop) error {
	w.logf("build with an empty cache")
	cold := *w
	cold.cache = filepath.Join(w.work, "cold")
	defer os.RemoveAll(cold.cache)
	b, err := cold.build(ctx, "x86_64", filepath.Join(w.work, "cold-release"))
	if err != nil {
		return err
	}
	m.cold, m.coldSteps = &b.usage, b.steps()
	return nil
}

func (m *builds) write(p *page) {
	p.heading(2, "Builds")
	p.paragraph("`builder build --board x86_64` after each kind of change, in turns; runs of each: %d (mkosi: %d). Peak memory is that of the "+
		"largest process, the builder's children included; its budget is %s.", len(m.agent), len(m.mkosi), memoryBudget)
	floor, rival := median(pick(m.floor, usage.seconds)), median(pick(m.mkosi, usage.seconds))
	var t table
	t.row("what", "time", "processor", "peak memory", "budget", "of mkfs.erofs", "of mkosi")
	add := func(what, budget string, runs ...usage) {
		took := median(pick(runs, usage.seconds))
		t.row(append(append([]string{what}, columns(runs)...), budget, ratio(took, floor), ratio(took, rival))...)
	}
	add("nothing changed", unchangedBudget, m.unchanged...)
	add("node config changed", configBudget, m.config...)
	add("agent's source changed", agentBudget, m.agent...)
	add("first build, packages downloaded", "", m.first.usage)
	if m.cold != nil {
		add("first build, nothing downloaded", "", *m.cold)
	}
	add("mkfs.erofs alone, same root", "", m.floor...)
	if len(m.mkosi) > 0 {
		add("mkosi, packages installed before", "", m.mkosi...)
	} else {
		t.row("mkosi", "not measured: "+m.mkosiMissing.Error())
	}
	t.write(p)
	p.paragraph("The agent's source is changed where most of its packages see it, so that these are compiled again. "+
		"mkfs.erofs gets the root as files that lie ready, and the builder's options: no build that makes a root can be faster. "+
		"It makes %s.", mib(float64(m.floorBytes)))
	if len(m.mkosi) > 0 {
		p.paragraph("mkosi makes a Debian of the same suite with kernel, systemd-boot and systemd on an EROFS with hash tree "+
			"(tests/bench/mkosi), of %s, with --incremental: it takes the installed packages from its cache and composes the "+
			"image anew. It cannot tell that nothing changed; with less work to do than `builder` after a change of the "+
			"agent, as it compiles nothing, it is to be compared with that row.", mib(float64(m.mkosiBytes)))
	}
	p.paragraph("Where the time of the last build after a change of the agent went:\n\n```\n%s\n```", m.agentSteps)
	if m.coldSteps != "" {
		p.paragraph("And that of the build with nothing downloaded:\n\n```\n%s\n```", m.coldSteps)
	}
}
