package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/qemu"
)

// machine says in a line what measures: the computer and the programs that the
// figures depend on.
func (s *session) machine(ctx context.Context) (string, error) {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", err
	}
	memory, err := memoryBytes(string(meminfo))
	if err != nil {
		return "", err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	mkfs, err := erofs.Version(ctx)
	if err != nil {
		return "", err
	}
	acceleration := "without KVM"
	if qemu.Virtualizes(runtime.GOARCH) {
		acceleration = "with KVM for " + runtime.GOARCH
	}
	what := []string{
		fmt.Sprintf("%d × %s", runtime.NumCPU(), processor(string(cpuinfo))),
		mib(memory),
		"Linux " + strings.TrimSpace(string(release)),
		"Go " + strings.TrimPrefix(runtime.Version(), "go"),
		"mkfs.erofs " + mkfs,
	}
	if qemu := s.version(ctx, "qemu-system-x86_64"); qemu != "" {
		what = append(what, "QEMU "+qemu+" "+acceleration)
	}
	if mkosi := s.version(ctx, "mkosi"); mkosi != "" {
		what = append(what, "mkosi "+mkosi)
	}
	return strings.Join(what, ", "), nil
}

// version returns what a program says its version is; nothing if there is no
// such program.
func (s *session) version(ctx context.Context, program string) string {
	u, err := s.command(ctx, s.work, nil, program, "--version")
	if err != nil {
		return ""
	}
	return firstNumber(u.stdout)
}

// sources says which commit is measured.
func (s *session) sources(ctx context.Context) string {
	commit, err := s.command(ctx, s.source, nil, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "outside git"
	}
	// The page itself may be new: parts are measured one after the other.
	changed, err := s.command(ctx, s.source, nil, "git", "status", "--porcelain", "--untracked-files=no", ":!docs/benchmarks.md")
	if err != nil || changed.stdout != "" {
		return strings.TrimSpace(commit.stdout) + " with changes"
	}
	return strings.TrimSpace(commit.stdout)
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
