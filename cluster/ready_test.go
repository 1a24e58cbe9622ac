package cluster

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOnlyAReportSinceTheStartMakesANodeReady(t *testing.T) {
	const (
		old    = "the node has not reported since this start"
		broken = "the node is not Ready: no network"
	)
	began := time.Now()
	report := func(status corev1.ConditionStatus, age time.Duration) corev1.NodeCondition {
		at := metav1.NewTime(began.Add(-age).Truncate(time.Second)) // as it comes from the API
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: status, Message: "no network", LastHeartbeatTime: at}
	}
	type step struct {
		report corev1.NodeCondition
		lacks  string
		ready  bool
	}
	ready, notReady := corev1.ConditionTrue, corev1.ConditionFalse
	for name, steps := range map[string][]step{
		"a new node":           {{report(notReady, 0), broken, false}, {report(ready, 0), "", true}},
		"a restart":            {{report(ready, time.Hour), old, false}, {report(ready, time.Hour), old, false}, {report(ready, 0), "", true}},
		"a broken restart":     {{report(ready, 2*time.Second), old, false}, {report(notReady, 0), broken, false}},
		"a clock set forward":  {{report(ready, 60*time.Hour), old, false}, {report(ready, 50*time.Hour), "", true}},
		"a clock set back":     {{report(ready, -time.Hour), "", true}},
		"broken before, again": {{report(notReady, time.Hour), old, false}},
	} {
		r := reports{began: began}
		for i, s := range steps {
			lacks, got := r.judge([]corev1.NodeCondition{{Type: corev1.NodeDiskPressure, Status: ready}, s.report})
			if got != s.ready || !got && lacks != s.lacks {
				t.Errorf("%s, report %d: got %q, %v", name, i, lacks, got)
			}
		}
	}
	if lacks, ready := (&reports{began: began}).judge(nil); ready || lacks != "" {
		t.Errorf("a Node without conditions: got %q, %v", lacks, ready)
	}
}
