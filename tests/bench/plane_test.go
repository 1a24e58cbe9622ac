package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/cluster/pki"
)

// fakeAPI is as much of an API server as a start needs. Every answer that is
// waited for is asked for twice before it is the one.
type fakeAPI struct {
	mutex  sync.Mutex
	asked  map[string]int
	events []string
	never  string // path that always fails
	node   string // where the Pod gets to
	began  time.Time
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	request := r.Method + " " + r.URL.Path
	f.asked[request]++
	late := f.asked[request] < 3 || r.URL.Path == f.never
	event := func(what string) {
		if f.asked[request] == 3 {
			f.events = append(f.events, what)
		}
	}
	switch request {
	case "GET /readyz":
		if late {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		event("ready")
		fmt.Fprint(w, "ok")
	case "GET /api/v1/namespaces/default/serviceaccounts/default":
		if late {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		event("account")
	case "GET /api/v1/namespaces/default/pods/one":
		if late {
			fmt.Fprint(w, `{"spec":{}}`)
			return
		}
		event("bound")
		phase := "Pending"
		if f.asked[request] >= 6 {
			phase = "Running"
		}
		fmt.Fprintf(w, `{"spec":{"nodeName":%q},"status":{"phase":%q}}`, f.node, phase)
	case "GET /api/v1/nodes/" + benchNode:
		// First as it was before the start, then without a network.
		reported, status := f.began.Add(-time.Minute), "True"
		if f.asked[request] == 2 {
			reported, status = f.began, "False"
		} else if !late {
			reported = f.began
			event("node Ready")
		}
		fmt.Fprintf(w, `{"status":{"conditions":[{"type":"DiskPressure","status":"True"},{"type":"Ready","status":%q,"lastHeartbeatTime":%q}]}}`,
			status, reported.UTC().Format(time.RFC3339))
	case "POST /api/v1/nodes":
		f.events = append(f.events, "node")
		w.WriteHeader(http.StatusConflict) // of an earlier start
	case "POST /api/v1/namespaces/default/pods":
		f.events = append(f.events, "pod")
	case "PATCH /api/v1/nodes/stand-in/status":
		var node struct {
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&node); err == nil && len(node.Status.Conditions) == 1 {
			f.events = append(f.events, "node "+node.Status.Conditions[0].Type+" "+node.Status.Conditions[0].Status)
		}
	}
}

// startFakeAPI serves an API in a network for one client, and returns that
// client's plane.
func startFakeAPI(t *testing.T, api *fakeAPI) *plane {
	t.Helper()
	api.asked = map[string]int{}
	p := &plane{name: "fake", network: testNetwork(t), data: t.TempDir(), run: t.TempDir()}
	dir := filepath.Join(p.data, "pki")
	if err := makeStockCertificates(dir, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	contents := func(name string) []byte {
		c, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(contents("ca.crt"))
	server := httptest.NewUnstartedServer(api)
	server.Listener.Close()
	p.network.do(func() { server.Listener, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	k := newKubeconfig(server.URL, contents("ca.crt"), contents("admin.crt"), contents("admin.key"))
	if err := k.write(p.kubeconfig()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(p.kubeconfig()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig is %v, %v", info.Mode(), err)
	}
	return p
}

func TestStartIsObservedStepByStep(t *testing.T) {
	api := &fakeAPI{node: standIn}
	p := startFakeAPI(t, api)
	life, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	var times startTimes
	if err := new(running).observe(life, life, p, "one", time.Now(), &times); err != nil {
		t.Fatal(err)
	}
	if times.ready <= 0 || times.account < times.ready || times.bound < times.account {
		t.Errorf("got %+v", times)
	}
	api.mutex.Lock()
	defer api.mutex.Unlock()
	if diff := cmp.Diff([]string{"ready", "node", "node Ready True", "account", "pod", "bound"}, api.events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStartWithAKubeletEndsWhenItsPodRuns(t *testing.T) {
	began := time.Now()
	api := &fakeAPI{node: benchNode, began: began}
	p := startFakeAPI(t, api)
	p.node = benchNode
	life, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	var times startTimes
	if err := new(running).observe(life, life, p, "one", began, &times); err != nil {
		t.Fatal(err)
	}
	if times.node < times.ready || times.account < times.ready || times.bound < times.account || times.running < times.bound {
		t.Errorf("got %+v", times)
	}
	api.mutex.Lock()
	defer api.mutex.Unlock()
	slices.Sort(api.events[1:]) // the Node and the Pod are watched at the same time
	if diff := cmp.Diff([]string{"ready", "account", "bound", "node Ready", "pod"}, api.events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatDoesNotHappenIsNamed(t *testing.T) {
	for never, want := range map[string]string{
		"/readyz": "wait for it to answer: ",
		"/api/v1/namespaces/default/serviceaccounts/default": "wait for it to make the default ServiceAccount: ",
		"/api/v1/namespaces/default/pods/one":                "wait for it to bind a Pod: ",
	} {
		api := &fakeAPI{never: never}
		p := startFakeAPI(t, api)
		life, end := context.WithCancelCause(t.Context())
		stop := errors.New("enough")
		go func() {
			for {
				api.mutex.Lock()
				asked := api.asked["GET "+never]
				api.mutex.Unlock()
				if asked > 5 {
					end(stop)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		var times startTimes
		err := new(running).observe(life, life, p, "one", time.Now(), &times)
		if !errors.Is(err, stop) || !strings.HasPrefix(err.Error(), want) || times.bound != 0 {
			t.Errorf("%s: got %v, %+v", never, err, times)
		}
	}
}

func TestStockFlagsNameWhatWasMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	read := func(name string) string {
		contents, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(contents)
	}
	kept := []string{"ca.crt", "ca.key", "etcd-ca.crt", "front-proxy-ca.crt", "sa.key"}
	before := map[string]string{}
	for start := range 2 {
		p := &plane{network: &network{address: ownAddress}, data: filepath.Dir(dir), run: t.TempDir()}
		programs, err := prepareStock([]string{"/x/etcd", "/x/kube-apiserver", "/x/kube-controller-manager", "/x/kube-scheduler"})(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, program := range programs {
			for _, arg := range program.args {
				_, value, _ := strings.Cut(arg, "=")
				if filepath.Dir(value) != dir {
					continue
				}
				named++
				info, err := os.Stat(value)
				if err != nil {
					t.Errorf("%s %s: %v", program.name(), arg, err)
				} else if filepath.Ext(value) != ".crt" && info.Mode().Perm() != 0o600 {
					t.Errorf("%s is %v", value, info.Mode())
				}
			}
		}
		if named < 30 {
			t.Errorf("flags name %d files", named)
		}
		for _, name := range kept {
			if start == 0 {
				before[name] = read(name)
			} else if read(name) != before[name] {
				t.Errorf("%s is another one after a second start", name)
			}
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read("ca.crt")))
	serving, err := pki.ParseCertificates([]byte(read("apiserver.crt")))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", ownAddress, "10.96.0.1", "kubernetes.default.svc"} {
		if _, err := serving[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Error(err)
		}
	}
}
