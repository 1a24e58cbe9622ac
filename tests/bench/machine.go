package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/qemu"
)

// introduce writes the page's head: how it came about, when, where.
func introduce(ctx context.Context, s *session, now time.Time) error {
	p := s.page
	p.heading(1, "Benchmarks")
	p.paragraph("`make bench` wrote this page; do not edit it. Figures are medians, with the smallest and the largest in "+
		"parentheses. They hold for the machine below and for nothing else: compare ratios, which are between two things "+
		"measured in the same run. Budgets are what the project holds itself to; nothing fails when one is missed. "+
		"Parts measured: %s.", strings.Join(s.only, ", "))
	var t table
	t.row("", "")
	t.row("date", now.UTC().Format("2006-01-02 15:04 UTC"))
	commit, err := s.command(ctx, s.source, nil, "git", "describe", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		t.row("sources", "outside git")
	} else {
		t.row("sources", strings.TrimSpace(commit.stdout))
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	t.row("processor", fmt.Sprintf("%d × %s", runtime.NumCPU(), processor(string(cpuinfo))))
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	memory, err := memoryBytes(string(meminfo))
	if err != nil {
		return err
	}
	t.row("memory", mib(memory))
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	t.row("kernel", "Linux "+strings.TrimSpace(string(release)))
	acceleration := "emulation (no KVM)"
	if qemu.Virtualizes(runtime.GOARCH) {
		acceleration = "KVM for " + runtime.GOARCH + ", emulation for other processors"
	}
	t.row("virtual machines", acceleration)
	t.row("load at the start", load())
	t.row("Go", strings.TrimPrefix(runtime.Version(), "go"))
	mkfs, err := erofs.Version(ctx)
	if err != nil {
		return err
	}
	t.row("mkfs.erofs", mkfs)
	for _, program := range []string{"qemu-system-x86_64", "mkosi"} {
		version := "not installed"
		if u, err := s.command(ctx, s.work, nil, program, "--version"); err == nil {
			version = firstNumber(u.stdout)
		}
		t.row(program, version)
	}
	t.write(p)
	return nil
}

// processor returns the processor's name out of /proc/cpuinfo; of some there
// is no name, only a number of its maker's.
func processor(cpuinfo string) string {
	names := map[string]string{}
	for line := range strings.Lines(cpuinfo) {
		key, value, ok := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); ok && names[key] == "" {
			names[key] = strings.TrimSpace(value)
		}
	}
	if name := names["model name"]; name != "" {
		return name
	}
	if part := names["CPU part"]; part != "" {
		return runtime.GOARCH + ", implementer " + names["CPU implementer"] + " part " + part
	}
	return runtime.GOARCH
}

// memoryBytes returns the size of memory out of /proc/meminfo.
func memoryBytes(meminfo string) (float64, error) {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemTotal")
}

// load returns how many processes ran or waited in the last minute.
func load() string {
	contents, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	first, _, _ := strings.Cut(string(contents), " ")
	return first
}

// firstNumber returns the first word of a text that begins with a digit: what
// programs say of their version is full of other words.
func firstNumber(text string) string {
	for _, word := range strings.Fields(text) {
		if word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	return strings.TrimSpace(text)
}
