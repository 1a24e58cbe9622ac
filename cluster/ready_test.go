package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	if lacks, ready := (&reports{began: time.Now()}).judge(nil); ready || lacks != "" {
		t.Errorf("a Node without conditions: got %q, %v", lacks, ready)
	}
}
