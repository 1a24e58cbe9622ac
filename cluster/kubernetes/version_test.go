package kubernetes

import (
	"os"
	"regexp"
	"testing"

	"k8s.io/component-base/version"
)

func TestTheVersionIsThatOfGoMod(t *testing.T) {
	contents, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)$`).FindSubmatch(contents)
	if found == nil {
		t.Fatal("go.mod does not name k8s.io/kubernetes")
	}
	if want := string(found[1]); Version() != want || release != want {
		t.Errorf("the version is %s, without a record of modules %s; go.mod has %s", Version(), release, want)
	}
	if info := version.Get(); info.Major != "1" || info.Minor == "" || info.GitTreeState != "clean" {
		t.Errorf("told: %+v", info)
	}
}
