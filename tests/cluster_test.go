//go:build system

package tests

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/tests/machine"
)

const (
	// serverMemory is what one has with room for Pods, and agentMemory the least, in MiB.
	serverMemory = 2048
	agentMemory  = 512
	// clusterDisk has room for what Pods write.
	clusterDisk = 4 << 30
	// clusterDeadline is how long anything that a cluster does may take. Under
	// emulation the whole start takes minutes.
	clusterDeadline = 20 * time.Minute
)

// skerryCommand is the single binary, compiled for this machine as it is for
// images.
var skerryCommand = sync.OnceValues(func() (string, error) {
	program := filepath.Join(workDir, "skerry")
	return program, goCommand("build", runtime.GOARCH, program, "../cmd/skerry")
})

// operator is a person with an access key, on another machine.
type operator struct {
	t          *testing.T
	program    string
	dir        string
	key        string // the line for the node config
	server     string // URL
	kubeconfig string
}

func newOperator(t *testing.T, port int) *operator {
	t.Helper()
	program, err := skerryCommand()
	if err != nil {
		t.Fatal(err)
	}
	o := &operator{t: t, program: program, dir: t.TempDir(), server: fmt.Sprintf("https://127.0.0.1:%d", port)}
	o.kubeconfig = filepath.Join(o.dir, "kubeconfig")
	o.key = strings.TrimSpace(o.run("key", "--name", "ops@example.com", filepath.Join(o.dir, "access.pem")))
	return o
}

// run runs the single binary, which must succeed.
func (o *operator) run(args ...string) string {
	o.t.Helper()
	out, err := o.try(args...)
	if err != nil {
		o.t.Fatalf("skerry %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (o *operator) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(o.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return stdout.String(), nil
}

// logIn gets the kubeconfig.
func (o *operator) logIn() {
	o.t.Helper()
	o.until("a kubeconfig", func() error {
		_, err := o.try("kubeconfig", "--server", o.server, "--key", filepath.Join(o.dir, "access.pem"), "--output", o.kubeconfig)
		return err
	})
}

// kubectl runs kubectl once.
func (o *operator) kubectl(args ...string) (string, error) {
	return o.try(append([]string{"kubectl", "--kubeconfig", o.kubeconfig}, args...)...)
}

// until tries until it works.
func (o *operator) until(what string, f func() error) {
	o.t.Helper()
	deadline := time.Now().Add(clusterDeadline)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			if state, err := o.kubectl("get", "pods,nodes,events", "--all-namespaces", "--output=wide"); err == nil {
				o.t.Log(state)
			}
			o.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(2 * time.Second)
	}
}

// sees waits until kubectl prints what is expected of it.
func (o *operator) sees(want string, args ...string) {
	o.t.Helper()
	o.until("kubectl "+strings.Join(args, " "), func() error {
		out, err := o.kubectl(args...)
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(out); got != want {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

// says waits until kubectl prints a text somewhere.
func (o *operator) says(text string, args ...string) {
	o.t.Helper()
	o.until("kubectl "+strings.Join(args, " "), func() error {
		out, err := o.kubectl(args...)
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("no word of %s in %q", text, out)
		}
		return err
	})
}

// apply applies a manifest.
func (o *operator) apply(manifest string) {
	o.t.Helper()
	path := filepath.Join(o.dir, "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		o.t.Fatal(err)
	}
	o.until("apply", func() error {
		_, err := o.kubectl("apply", "--filename", path)
		return err
	})
}

// batteriesReady waits until all Deployments of the cluster's own are ready.
func (o *operator) batteriesReady() {
	o.t.Helper()
	const ready = `jsonpath={range .items[*]}{.metadata.name}={.status.readyReplicas}{" "}{end}`
	o.sees("coredns=1 metrics-server=1", "get", "deployments", "--namespace=kube-system", "--output="+ready)
}

// freePort is a TCP port of this machine that nobody listens at.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

const clusterReady = "cluster server Ready"

// comesUp waits until a node is up as what it is to be in its cluster.
func comesUp(t testing.TB, m *machine.Machine, as string) {
	t.Helper()
	if up := m.ExpectUp(); up.Service != as {
		t.Errorf("the node says %q, and should be %s", up.Service, as)
	}
}

// site is what a server and the person who uses it need for any number of boots.
type site struct {
	disk     machine.Disk
	hardware qemu.Machine
	*operator
}

// newSite flashes a disk for a server; more are lines for the config's section
// cluster.
func newSite(t *testing.T, board string, more ...string) site {
	t.Helper()
	port := freePort(t)
	o := newOperator(t, port)
	i := builtWithCluster(t, board)
	d := machine.NewDisk(t, workDir, i.path(), clusterDisk)
	lines := []string{"hostname: shop-17", "access: {keys: [\"" + o.key + "\"]}"}
	if len(more) > 0 { // without any, a node is a server by itself
		lines = append(append(lines, "cluster:", "  role: server"), more...)
	}
	d.WriteConfig(header + strings.Join(lines, "\n") + "\n")
	return site{d, qemu.Machine{
		GOARCH: i.manifest.Architecture, Disk: d.Path, Memory: serverMemory, Forwards: []qemu.Forward{{Host: port, Node: 6443}},
	}, o}
}

// server boots an image that is a cluster by itself.
func server(t *testing.T, board string) (*machine.Machine, *operator) {
	t.Helper()
	s := newSite(t, board)
	m := machine.Start(t, s.hardware)
	s.becomesCluster(m)
	return m, s.operator
}

// becomesCluster waits until all of the cluster's own runs on a machine, and a Pod
// beside it. Nothing comes from a registry.
func (s site) becomesCluster(m *machine.Machine) {
	s.t.Helper()
	comesUp(s.t, m, clusterReady)
	s.logIn()
	s.sees("shop-17=True", "get", "nodes", `--output=jsonpath={.items[0].metadata.name}={.items[0].status.conditions[?(@.type=="Ready")].status}`)
	s.batteriesReady()
	s.apply(podOfUsersImage)
	s.sees("Running", "get", "pod", "first", "--output=jsonpath={.status.phase}")
}

// With cold caches, most of its time is compiling the cluster once more.
func TestAnImageForArm64IsAClusterByItself(t *testing.T) {
	timed(t)
	m, _ := server(t, "arm64")
	m.PowerOff()
}

func TestAnImageIsAClusterByItself(t *testing.T) {
	timed(t)
	m, o := server(t, "x86_64")
	// The API server reaches kubelets, and they their Pods.
	o.says("CoreDNS-", "logs", "--namespace=kube-system", "deployment/coredns")
	o.says("CoreDNS-", "exec", "--namespace=kube-system", "deployment/coredns", "--", "/coredns", "-version")
	// Metrics get to people, and to what scales.
	o.says("coredns-", "top", "pods", "--namespace=kube-system")
	o.apply(scaledAlways)
	o.sees("2", "get", "deployment", "coredns", "--namespace=kube-system", "--output=jsonpath={.status.readyReplicas}")
	m.PowerOff()
}

// scaledAlways wants more of what does anything at all.
const scaledAlways = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: coredns, namespace: kube-system}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: coredns}
  minReplicas: 1
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 1}}}]
`

// podOfUsersImage needs an image that was put into the node's root.
const podOfUsersImage = `apiVersion: v1
kind: Pod
metadata: {name: first, namespace: default}
spec:
  containers:
  - name: first
    image: ` + usersImage + `
    imagePullPolicy: Never
`
