package node

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
)

func TestASettingOfTheKubeletLeavesTheOthersAlone(t *testing.T) {
	n := &Node{Config: &config.Config{DataDir: "/data", RunDir: "/run"}}
	settings := n.kubeletConfig(&join.Response{ClusterDNS: "10.43.0.10"})
	merge(settings, map[string]any{
		"authentication": map[string]any{"webhook": map[string]any{"cacheTTL": "1m"}},
		"clusterDNS":     []any{"192.0.2.53"},
		"maxPods":        30,
	})
	want := map[string]any{
		"anonymous": map[string]any{"enabled": false},
		"webhook":   map[string]any{"enabled": true, "cacheTTL": "1m"},
		"x509":      map[string]any{"clientCAFile": n.clientCAFile()},
	}
	if diff := cmp.Diff(want, settings["authentication"]); diff != "" {
		t.Errorf("authentication (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"192.0.2.53"}, settings["clusterDNS"]); diff != "" {
		t.Errorf("clusterDNS (-want +got):\n%s", diff)
	}
	if settings["maxPods"] != 30 {
		t.Errorf("maxPods: %v", settings["maxPods"])
	}
}

func TestAnyAnswerOfTheKubeletIsASignOfLife(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if err := ask(t.Context(), server.URL); err != nil {
		t.Errorf("an answer: %v", err)
	}
	server.Close()
	if err := ask(t.Context(), server.URL); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}
