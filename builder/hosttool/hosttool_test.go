package hosttool

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestProgramsSeeNothingOfThePersonsEnvironment(t *testing.T) {
	for _, name := range []string{"XZ_OPT", "XZ_DEFAULTS", "GIT_DIR", "LC_MESSAGES", "TZ", "SOURCE_DATE_EPOCH"} {
		t.Setenv(name, "from-the-person")
	}
	var out bytes.Buffer
	if err := Run(t.Context(), &out, "env"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"LC_ALL", "PATH", "TZ"}) || strings.Contains(out.String(), "from-the-person") {
		t.Errorf("got %s", out.String())
	}
}

func TestNamedVariablesArePassedOn(t *testing.T) {
	got := environment([]string{"HOME=/h", "HOMER=x", "GIT_CONFIG_KEY_0=k", "GIT_DIR=d"}, []string{"HOME", "GIT_CONFIG_*"})
	if want := []string{"LC_ALL=C", "TZ=UTC", "HOME=/h", "GIT_CONFIG_KEY_0=k"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestErrorsSayWhatTheProgramSaidOrThatItIsMissing(t *testing.T) {
	if err := Run(t.Context(), nil, "no-such-program-here"); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("missing: %v", err)
	}
	if err := Run(t.Context(), nil, "ls", "/no/such/folder"); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("failed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, nil, "sleep", "10"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
