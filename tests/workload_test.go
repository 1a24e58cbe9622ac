//go:build system

package tests

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/jointoken"
	"github.com/skerry-os/skerry/tests/machine"
	"github.com/skerry-os/skerry/tests/registry"
)

const agnhostPackage = "k8s.io/kubernetes/test/images/agnhost"

// agnhost is the program of Kubernetes' own tests: server, client and whatever
// else a Pod may have to be.
func agnhost(t *testing.T, architecture string) string {
	t.Helper()
	return compiled(t, architecture, "agnhost", "build", agnhostPackage)
}

// compiled is a program that the go command makes, with no symbols.
func compiled(t *testing.T, architecture, name, command string, args ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if err := goCommand(command, architecture, program, append([]string{"-ldflags=-s -w"}, args...)...); err != nil {
		t.Fatal(err)
	}
	return program
}

// The registries of tests ask for a name and a password.
const (
	puller     = "puller"
	pullSecret = "a secret"
)

// imagesForGuests serves agnhost from a registry which only a mirror with a
// password has, and returns it and the lines of a config with which guests get it.
func imagesForGuests(t *testing.T, architecture string) (images *registry.Registry, lines []string) {
	t.Helper()
	images = registry.Serve(t, puller, pullSecret)
	images.Add(t, "agnhost", "v1", architecture, agnhost(t, architecture))
	return images, mirrored("images.example", images)
}

// mirrored are the lines of a config with which guests get a registry's images
// from one of this machine.
func mirrored(of string, images *registry.Registry) (lines []string) {
	_, port, _ := strings.Cut(images.Host, ":")
	mirror := machine.HostAddress + ":" + port
	return []string{
		"  registries:",
		"    mirrors: {" + of + ": {endpoints: [\"http://" + mirror + "\"]}}",
		"    credentials: {\"" + mirror + "\": {username: " + puller + ", password: " + pullSecret + "}}",
	}
}

// workloads are what people run: a server that two clients want, of whom a
// NetworkPolicy lets in the friend; a way in from outside; and a volume.
const workloads = `apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  hostname: the-web
  containers:
  - {name: web, image: "images.example/agnhost:v1", args: [netexec, --http-port=8080, --udp-port=-1]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: door}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 8081, targetPort: 8080}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: diary}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 10Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, labels: {role: friend}}
spec:
  containers:
  - name: friend
    image: images.example/agnhost:v1
    args: [pause]
    volumeMounts: [{name: diary, mountPath: /diary}]
  volumes: [{name: diary, persistentVolumeClaim: {claimName: diary}}]
---
apiVersion: v1
kind: Pod
metadata: {name: stranger}
spec:
  containers:
  - {name: stranger, image: "images.example/agnhost:v1", args: [pause]}
`

const friendsOnly = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends-only}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {role: friend}}}]
`

func TestANodeRunsWhatPeopleRun(t *testing.T) {
	timed(t)
	s, o := hostControlPlane(t)
	i := builtWithCluster(t, "x86_64")
	images, registries := imagesForGuests(t, i.manifest.Architecture)
	door := freePort(t)
	d := machine.NewDisk(t, workDir, i.path(), clusterDisk)
	d.WriteConfig(agentConfig(hostServer, o.joinToken(s, jointoken.Agent), registries...))
	start := func() *machine.Machine {
		return machine.Start(t, qemu.Machine{
			GOARCH: i.manifest.Architecture, Disk: d.Path, Memory: serverMemory, Forwards: []qemu.Forward{{Host: door, Node: 8081}},
		})
	}
	m := start()
	o.batteriesReady()

	// A registry that is gone for a while.
	images.Gone.Store(true)
	o.apply(workloads)
	o.until("a Pod waits for its image", func() error {
		why, err := o.kubectl("get", "pod", "web", "--output=jsonpath={.status.containerStatuses[0].state.waiting}")
		if err != nil {
			return err
		}
		if !strings.Contains(why, "ErrImagePull") && !strings.Contains(why, "ImagePullBackOff") || !strings.Contains(why, "images.example/agnhost:v1") {
			return fmt.Errorf("it waits for %s", why)
		}
		return nil
	})
	images.Gone.Store(false)
	o.running("web", "friend", "stranger")

	// DNS and Services, from other Pods.
	o.reaches("friend", "web.default.svc.cluster.local:80")
	o.reaches("stranger", "web:80")
	// Services from outside.
	o.gets(fmt.Sprintf("http://127.0.0.1:%d/hostname", door), "the-web")
	o.getsForwarded("web", 8080, "/hostname", "the-web")

	// Volumes.
	o.kubectlMust("exec", "friend", "--", "/agnhost", "mounttest", "--new_file_0644=/diary/page")

	o.apply(friendsOnly)
	o.until("the stranger stays out", func() error {
		out, err := o.connect("stranger", "web:80")
		if err == nil {
			return fmt.Errorf("it got in: %s", out)
		}
		if !strings.Contains(err.Error(), "TIMEOUT") {
			return err
		}
		return nil
	})
	o.reaches("friend", "web:80")

	o.listensAsDocumented("mast-3")
	m.PowerOff()

	m = start()
	o.running("web", "friend", "stranger")
	o.says("mount-tester new file", "exec", "friend", "--", "/agnhost", "mounttest", "--file_content=/diary/page")
	o.reaches("friend", "web:80")
	m.PowerOff()
}

// running waits until Pods run, in the machine that is there now.
func (o *operator) running(pods ...string) {
	o.t.Helper()
	for _, pod := range pods {
		o.until("run "+pod, func() error {
			_, err := o.kubectl("exec", pod, "--", "/agnhost", "--version")
			return err
		})
	}
}

// connect opens a TCP connection from a Pod.
func (o *operator) connect(pod, address string) (string, error) {
	return o.kubectl("exec", pod, "--", "/agnhost", "connect", "--timeout=10s", address)
}

// reaches waits until a Pod can open TCP connections to an address.
func (o *operator) reaches(pod, address string) {
	o.t.Helper()
	o.until(pod+" reaches "+address, func() error {
		_, err := o.connect(pod, address)
		return err
	})
}

// kubectlMust runs kubectl once, and it must succeed.
func (o *operator) kubectlMust(args ...string) string {
	o.t.Helper()
	out, err := o.kubectl(args...)
	if err != nil {
		o.t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// gets waits until a URL answers with a text.
func (o *operator) gets(url, want string) {
	o.t.Helper()
	client := http.Client{Timeout: 20 * time.Second}
	o.until("get "+url, func() error {
		got, err := get(client, url)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}

func get(client http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return string(body), err
}

var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+)`)

// getsForwarded has kubectl forward a port to a Pod's, and asks there.
func (o *operator) getsForwarded(pod string, port int, path, want string) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, o.program, "kubectl", "--kubeconfig", o.kubeconfig, "port-forward", pod, fmt.Sprintf(":%d", port))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address := forwarding.FindStringSubmatch(lines.Text()); address != nil {
			o.gets("http://"+address[1]+path, want)
			return
		}
	}
	o.t.Error("kubectl port-forward ended")
}
