//go:build system && soak

package tests

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/subprocess"
	"github.com/skerry-os/skerry/tests/conformance"
	"github.com/skerry-os/skerry/tests/machine"
	"github.com/skerry-os/skerry/tests/registry"
)

// conformancePart is the variable of the environment with a regular expression,
// for a part of the subset. The page in docs is then left as it is.
const conformancePart = "SKERRY_CONFORMANCE"

// conformanceBoard is the board whose image is tested.
const conformanceBoard = "x86_64"

// `make conformance` runs this, at night.
func TestConformanceOfUpstream(t *testing.T) {
	timed(t)
	t.Setenv("TMPDIR", workDir) // Ctrl-C removes it
	part := os.Getenv(conformancePart)
	names, err := conformance.Subset(part)
	if err != nil {
		t.Fatal(err)
	}
	source, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	e2e := compiled(t, runtime.GOARCH, "e2e.test", "test", "-c", "-tags", "conformance", "./conformance/e2e")
	images := registry.Serve(t, puller, pullSecret)
	used := addImages(t, images, source, e2e)
	s := newSite(t, conformanceBoard, mirrored(conformance.Registry, images)...)
	m := machine.Start(t, s.hardware)
	comesUp(t, m, clusterReady)
	s.logIn()
	s.batteriesReady()
	s.pull(used)

	run := &conformance.Run{
		Date:       time.Now().UTC().Format(time.DateOnly),
		Sources:    sources(source),
		Kubernetes: strings.TrimSpace(s.kubectlMust("get", "nodes", "--output=jsonpath={.items[0].status.nodeInfo.kubeletVersion}")),
		Board:      conformanceBoard,
		Machine:    fmt.Sprintf("QEMU, %d MiB of memory", serverMemory),
		Wanted:     names,
	}
	s.runE2E(e2e, run)
	m.PowerOff()

	for _, name := range run.Failed() {
		t.Errorf("failed: %s", name)
	}
	for _, name := range run.NotRun() {
		t.Errorf("did not run: %s", name)
	}
	fmt.Println("conformance:", run.Summary())
	if part != "" || len(run.NotRun()) == len(names) { // the page of a run that was one stays
		return
	}
	if err := os.WriteFile(filepath.Join(source, "docs", "conformance.md"), []byte(run.Page()), 0o644); err != nil {
		t.Error(err)
	}
}

// addImages adds to a registry what the tests pull, under the names and tags by
// which they do, and returns these.
func addImages(t *testing.T, images *registry.Registry, source, e2e string) []string {
	t.Helper()
	b, err := board.Load(os.DirFS(source), conformanceBoard)
	if err != nil {
		t.Fatal(err)
	}
	made, err := conformance.Images(t.Context(), b, conformance.Programs{
		Agnhost:       agnhost(t, b.Architecture),
		AgnhostSource: agnhostSource(t),
		Pause:         compiled(t, b.Architecture, "pause", "build", "../images/pause"),
	}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), e2e, "-list-images").Output()
	if err != nil {
		t.Fatalf("e2e.test -list-images: %v", err)
	}
	var references, found []string
	for reference := range strings.FieldsSeq(string(out)) {
		name, ofRegistry := strings.CutPrefix(reference, conformance.Registry+"/")
		repository, tag, _ := strings.Cut(name, ":")
		image, ok := made[repository]
		if !ok || !ofRegistry {
			continue
		}
		entries, err := containerimage.Entries(image.Files)
		if err != nil {
			t.Fatal(err)
		}
		images.AddFiles(t, repository, tag, b.Architecture, image.Config, entries)
		references, found = append(references, reference), append(found, repository)
	}
	for repository := range made {
		if !slices.Contains(found, repository) {
			t.Errorf("upstream's tests do not want image %s any more: see `e2e.test -list-images`", repository)
		}
	}
	return references
}

// agnhostSource is the folder with the source code of package agnhost.
func agnhostSource(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", agnhostPackage).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", agnhostPackage, err)
	}
	return strings.TrimSpace(string(out))
}

// sources says of which commit the tree under test is.
func sources(source string) string {
	out, err := exec.Command("git", "-C", source, "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "outside git"
	}
	return strings.TrimSpace(string(out))
}

// pull has the node pull images, which takes longer than a test waits for a Pod.
func (o *operator) pull(references []string) {
	o.t.Helper()
	for i, reference := range references {
		pod := fmt.Sprintf("pull-%d", i)
		o.apply(fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  containers: [{name: pull, image: %q}]
`, pod, reference))
		o.until("pull "+reference, func() error {
			id, err := o.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].imageID}")
			if err == nil && id == "" {
				err = fmt.Errorf("%s is not there yet", reference)
			}
			return err
		})
		// The node may still be busy with what it pulled.
		o.until("delete "+pod, func() error {
			_, err := o.kubectl("delete", "pod", pod, "--now", "--ignore-not-found")
			return err
		})
	}
}

// runE2E runs the wanted tests and notes what becomes of them. It shows that as
// it comes, and whatever e2e.test says of a failure.
func (o *operator) runE2E(e2e string, run *conformance.Run) {
	o.t.Helper()
	kubectl := filepath.Join(o.dir, "kubectl")
	if err := os.Symlink(o.program, kubectl); err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(o.t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, e2e, append(conformance.Focus(run.Wanted),
		"-kubeconfig="+o.kubeconfig, "-kubectl-path="+kubectl, "-provider=skeleton", "-repo-root=", "-e2e-output-dir="+o.dir,
		"-disable-log-dump", "-ginkgo.no-color", "-ginkgo.silence-skips", "-ginkgo.timeout=24h")...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "HOME="+o.dir) // for kubectl's cache
	// Ctrl-C reaches what e2e.test starts by itself; e2e.test would clean up
	// first, in a cluster that is gone.
	said, speech := io.Pipe()
	cmd.Stdout, cmd.Stderr = speech, speech
	if err := subprocess.Start(cmd); err != nil {
		o.t.Fatalf("start e2e.test: %v", err)
	}
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		o.note(said, run)
	}()
	err := cmd.Wait()
	speech.Close()
	<-noted
	if err != nil && len(run.Failed()) == 0 {
		o.t.Errorf("e2e.test: %v", err)
	}
}

// note reads what e2e.test says.
func (o *operator) note(said io.Reader, run *conformance.Run) {
	begin := time.Now()
	lines := bufio.NewReader(said)
	for {
		line, err := lines.ReadString('\n')
		if outcome, ok := conformance.ParseOutcome(line); ok {
			run.Outcomes = append(run.Outcomes, outcome)
			fmt.Printf("%4d/%d after %5.0f s: %s\n", len(run.Outcomes), len(run.Wanted), time.Since(begin).Seconds(), outcome)
		} else {
			fmt.Print(line)
		}
		if err != nil {
			return
		}
	}
}
