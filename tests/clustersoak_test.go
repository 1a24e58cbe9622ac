//go:build system && soak

package tests

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/cluster/clustertest"
	"github.com/skerry-os/skerry/tests/machine"
)

const clusterCuts = 20

// What the API server acknowledged is there after each of many power cuts, all
// of them while objects were written.
func TestManyPowerCutsLoseNoAcknowledgedObject(t *testing.T) {
	timed(t)
	seed := uint64(time.Now().Unix())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, "x86_64")
	var acknowledged []string
	for round := range clusterCuts {
		m := machine.Start(t, s.hardware)
		if round == 0 {
			s.logIn()
		}
		client := s.client()
		clustertest.ExpectAll(t, s.configMaps(client), acknowledged)
		writers := clustertest.Write(t.Context(), client, "default", fmt.Sprintf("r%d", round))
		// Not before the first is acknowledged, and then at any moment.
		s.until("an object is written", func() error {
			if n, err := writers.Count(); n == 0 {
				return fmt.Errorf("none is acknowledged: %w", err)
			}
			return nil
		})
		time.Sleep(time.Duration(random.Int64N(int64(15 * time.Second))))
		m.Kill()
		acknowledged = append(acknowledged, writers.Stop()...)
		t.Logf("cut %d: %d objects acknowledged in all", round+1, len(acknowledged))
	}
	m := machine.Start(t, s.hardware)
	comesUp(t, m, clusterReady)
	clustertest.ExpectAll(t, s.configMaps(s.client()), acknowledged)
	m.PowerOff()
	s.disk.CheckData()
}

// What fits into the smallest memory that a server may have.
func TestASmallServerRunsTenPods(t *testing.T) {
	timed(t)
	s := newSite(t, "x86_64")
	s.hardware.Memory = 1024
	m := machine.Start(t, s.hardware)
	s.becomesCluster(m)
	s.apply(tenPods)
	s.sees("10", "get", "deployment", "ten", "--output=jsonpath={.status.readyReplicas}")
	m.PowerOff()
}

// The emulated Pi has 2 GiB, four slow processors, and disk and network behind one
// USB controller of 480 Mbit/s.
func TestRaspberryPiIsACluster(t *testing.T) {
	timed(t)
	s := newSite(t, "rpi4")
	m := startRaspberryPi(t, s.disk, s.hardware.Forwards...)
	s.becomesCluster(m)
	m.Kill()
}

// A board without a clock of its own starts with the time of its image, and is
// told the right one when its certificates were made. Less than a year leaves
// them valid, and too little time until they would be renewed.
func TestTheClockIsSetFarAndTheClusterLivesOn(t *testing.T) {
	timed(t)
	i, err := build("x86_64", "x86_64-debug", "--overlay", "debug")
	if err != nil {
		t.Fatal(err)
	}
	d := machine.NewDisk(t, workDir, i.path(), clusterDisk)
	m := machine.Start(t, qemu.Machine{GOARCH: i.manifest.Architecture, Disk: d.Path, Memory: serverMemory})
	comesUp(t, m, clusterReady)
	s := newShell(t, m)
	for n, change := range []string{"+ 200 * 86400", "+ 400 * 86400", "- 2 * 86400"} {
		s.run("date -s @$(($(date +%s) " + change + "))")
		m.Expect(`^skerry: problem: service cluster: `)
		m.Expect(`^skerry: resolved: service cluster$`)
		s.run("skerry certificate check")
		pod := fmt.Sprintf("pod-%d", n)
		// The default ServiceAccount may still be missing.
		s.run("until skerry kubectl run " + pod + " --image=skerry.dev/pause:v1 --restart=Never; do sleep 2; done")
		s.run("skerry kubectl wait pod/" + pod + " --for=condition=Ready --timeout=20m")
		s.says(`skerry kubectl get nodes --output='jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}'`, "^True$")
	}
	m.PowerOff()
	d.CheckData()
}

// client is one of the server's API.
func (o *operator) client() kubernetes.Interface {
	o.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		o.t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		o.t.Fatal(err)
	}
	return client
}

// configMaps are those in namespace default, as soon as the server answers.
func (o *operator) configMaps(client kubernetes.Interface) (list *corev1.ConfigMapList) {
	o.t.Helper()
	o.until("the list of ConfigMaps", func() (err error) {
		list, err = client.CoreV1().ConfigMaps("default").List(o.t.Context(), metav1.ListOptions{})
		return err
	})
	return list
}

// tenPods are as many as a node with little memory has to run.
const tenPods = `apiVersion: apps/v1
kind: Deployment
metadata: {name: ten, namespace: default}
spec:
  replicas: 10
  selector: {matchLabels: {app: ten}}
  template:
    metadata: {labels: {app: ten}}
    spec:
      containers:
      - {name: pause, image: "skerry.dev/pause:v1", imagePullPolicy: Never}
`
