package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/config"
)

func TestOnlyAReportSinceTheStartMakesANodeReady(t *testing.T) {
	const (
		old    = "the node has not reported since this start"
		broken = "the node is not Ready: no network"
		day    = 24 * time.Hour
	)
	type step struct {
		status corev1.ConditionStatus
		age    time.Duration // of the report at the start
		lacks  string
		ready  bool
	}
	const ready, notReady, unknown = corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	for name, steps := range map[string][]step{
		"a new node":                    {{notReady, 0, broken, false}, {ready, 0, "", true}},
		"a restart":                     {{ready, time.Hour, old, false}, {ready, time.Hour, old, false}, {ready, 0, "", true}},
		"a broken restart":              {{ready, 2 * time.Second, old, false}, {notReady, 0, broken, false}},
		"given up before":               {{unknown, time.Hour, old, false}, {ready, 0, "", true}},
		"given up meanwhile":            {{ready, time.Hour, old, false}, {unknown, time.Hour, old, false}},
		"a clock that was set forward":  {{ready, 60 * day, old, false}, {ready, 50 * day, "", true}},
		"a clock that was ahead before": {{ready, -60 * day, old, false}, {ready, 0, "", true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			r := reports{began: began}
			for i, s := range steps {
				reported := metav1.NewTime(began.Add(-s.age).Truncate(time.Second)) // as it comes from the API
				lacks, got := r.judge([]corev1.NodeCondition{
					{Type: corev1.NodeDiskPressure, Status: ready},
					{Type: corev1.NodeReady, Status: s.status, Message: "no network", LastHeartbeatTime: reported},
				})
				if got != s.ready || lacks != s.lacks {
					t.Errorf("%s, report %d: got %q, %v", name, i, lacks, got)
				}
				time.Sleep(time.Second)
			}
		})
	}
	// A clock that is set makes a report that counted old.
	reported := metav1.NewTime(time.Now().Add(-day))
	counted := reports{began: time.Now(), first: &reported, since: true}
	if lacks, isReady := counted.judge([]corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: reported}}); !isReady {
		t.Errorf("what was Ready before the clock was set: %q", lacks)
	}
	if lacks, ready := (&reports{began: time.Now()}).judge(nil); ready || lacks != "" {
		t.Errorf("a Node without conditions: got %q, %v", lacks, ready)
	}
}

func TestWhatIsNotReadyAnyMoreIsTold(t *testing.T) {
	type answer struct {
		lacks string
		ready bool
		err   error
	}
	const ready = "cluster server Ready"
	isReady, broken, silent := answer{ready: true}, answer{lacks: "no network"}, answer{err: errSilent}
	for name, c := range map[string]struct {
		answers []answer
		want    []string
	}{
		"nothing changes":         {[]answer{isReady, isReady}, nil},
		"a node breaks":           {[]answer{broken, broken, isReady, broken}, []string{"no network", ready, "no network"}},
		"a late answer":           {[]answer{silent, isReady, silent, isReady}, nil},
		"nobody answers":          {[]answer{silent, silent, silent, isReady}, []string{errSilent.Error(), ready}},
		"a Node with no answer":   {[]answer{{}, isReady}, nil},
		"silence, then a failure": {[]answer{silent, broken, silent}, []string{"no network"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var told []string
			left := c.answers
			keepTelling(ctx, func(context.Context) (string, bool, error) {
				a := left[0]
				if left = left[1:]; len(left) == 0 {
					defer time.AfterFunc(time.Second, cancel)
				}
				return a.lacks, a.ready, a.err
			}, ready, func(text string) { told = append(told, text) })
			if !slices.Equal(told, c.want) {
				t.Errorf("%s: told %q, want %q", name, told, c.want)
			}
		})
	}
}

func TestOnlyARefusalIsCalledOne(t *testing.T) {
	for code, want := range map[int]string{
		http.StatusUnauthorized:        "refuses this machine",
		http.StatusForbidden:           "refuses this machine",
		http.StatusNotFound:            errNoNode.Error(),
		http.StatusInternalServerError: errSilent.Error(),
		http.StatusGatewayTimeout:      errSilent.Error(),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d, "reason": %q}`, code,
				map[int]metav1.StatusReason{401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound}[code])
		}))
		client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		r := readiness{config: &config.Config{NodeName: "shop-17"}, client: client}
		if _, ready, err := r.ask(t.Context()); ready || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, %v", code, ready, err)
		}
		server.Close()
	}
}
