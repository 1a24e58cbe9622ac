package kubernetes

import (
	"runtime/debug"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// Kubernetes' own build has the linker write its version into these variables,
// and says v0.0.0 without. Every program that links this package has the right
// version, however it is built.
//
//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

//go:linkname gitMajor k8s.io/component-base/version.gitMajor
var gitMajor string

//go:linkname gitMinor k8s.io/component-base/version.gitMinor
var gitMinor string

//go:linkname gitTreeState k8s.io/component-base/version.gitTreeState
var gitTreeState string

// release is the version where a program is built without a record of its
// modules, as tests are.
const release = "v1.37.2"

func init() {
	gitVersion = moduleVersion("k8s.io/kubernetes", release)
	gitTreeState = "clean"
	gitMajor, gitMinor, _ = strings.Cut(strings.TrimPrefix(gitVersion, "v"), ".")
	gitMinor, _, _ = strings.Cut(gitMinor, ".")
	if err := version.SetDynamicVersion(gitVersion); err != nil {
		panic(err) // it is compared with gitVersion
	}
}

func moduleVersion(path, otherwise string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == path && strings.HasPrefix(module.Version, "v") {
				return module.Version
			}
		}
	}
	return otherwise
}

// Version is the version of Kubernetes that is compiled in, as in v1.37.2.
func Version() string { return version.Get().GitVersion }
