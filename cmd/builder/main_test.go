package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// invoke runs the command as main does, in the repository.
func invoke(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(&out, &errs, append([]string{"--source", "../.."}, args...))
	return code, out.String(), errs.String()
}

func TestUnknownBoardNamesThoseThereAre(t *testing.T) {
	code, _, stderr := invoke("build", "--board", "rpi9", "--cache", t.TempDir(), "--output", t.TempDir())
	if code != exitFailed || !strings.Contains(stderr, "arm64") || !strings.Contains(stderr, "x86_64") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestOverlayOfTheBoardIsNotMergedTwice(t *testing.T) {
	code, _, stderr := invoke("build", "--board", "x86_64", "--overlay", "base", "--cache", t.TempDir(), "--output", t.TempDir())
	if code != exitFailed || !strings.Contains(stderr, "leave out --overlay base") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestBadConfigIsToldByPlaceAndBuildsNothing(t *testing.T) {
	config := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(config, []byte("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\nhostnam: x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	output := t.TempDir()
	code, _, stderr := invoke("build", "--board", "x86_64", "--config", config, "--cache", t.TempDir(), "--output", output)
	if code != exitFailed || !strings.Contains(stderr, "shop.yaml:3:1") {
		t.Errorf("build: exit code %d, %s", code, stderr)
	}
	if left, err := os.ReadDir(output); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	code, _, stderr = invoke("config", "check", config)
	if code != exitFailed || !strings.Contains(stderr, "shop.yaml:3:1") {
		t.Errorf("config check: exit code %d, %s", code, stderr)
	}
}

func TestUsageErrorsPointToTheHelp(t *testing.T) {
	for _, args := range [][]string{{"build"}, {"build", "--bord", "x"}, {"boards", "show"}, {"config", "check"}, {"run"}, {"run", "x.img", "--port", "80"}} {
		code, _, stderr := invoke(args...)
		if code != exitUsage || !strings.Contains(stderr, "--help") {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestUnknownCommandsAreUsageErrorsThatNameNearOnes(t *testing.T) {
	for line, want := range map[string]string{
		"frobnicate":            "builder frobnicate",
		"buld --board x86_64":   "did you mean build?",
		"config chek":           "did you mean check?",
		"config chek x --quick": "did you mean check?",
		"boards shw":            "did you mean show?",
		"help buid":             "did you mean build?",
		"help config chek":      "did you mean check?",
		"completion fisch":      "did you mean fish?",
	} {
		code, stdout, stderr := invoke(strings.Fields(line)...)
		if code != exitUsage || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%s: exit code %d, %s%s", line, code, stdout, stderr)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	for line, want := range map[string]string{
		"": "builder boards", "config": "schema", "help": "builder boards", "help config check": "check FILE", "build --help": "--board",
		"completion": "bash", "help run": "--keep",
	} {
		code, stdout, stderr := invoke(strings.Fields(line)...)
		if code != 0 || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("%s: exit code %d, %s%s", line, code, stdout, stderr)
		}
	}
}

func TestBoardsAreListedForPeopleAndMachines(t *testing.T) {
	code, stdout, stderr := invoke("boards")
	if code != 0 || !strings.Contains(stdout, "x86_64") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	code, stdout, _ = invoke("boards", "--json")
	var boards []map[string]any
	if err := json.Unmarshal([]byte(stdout), &boards); err != nil || code != 0 || len(boards) < 2 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestShellCompletionOffersBoards(t *testing.T) {
	_, stdout, _ := invoke("__complete", "build", "--board", "")
	if !strings.Contains(stdout, "arm64") || !strings.Contains(stdout, "x86_64") {
		t.Errorf("got %s", stdout)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	code, stdout, _ := invoke("config", "schema")
	if code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("exit code %d", code)
	}
}
