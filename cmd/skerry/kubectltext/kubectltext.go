// Package kubectltext keeps the translations of kubectl's texts out of processes
// that are not kubectl: these would load them before main, which takes 30 ms and
// 4 MB of each process of a node. It only has to be imported.
package kubectltext

import (
	"os"
	"path/filepath"

	"k8s.io/kubectl/pkg/util/i18n"
)

// Packages are initialized in the order of their paths, as far as their imports
// are (Go specification, "Program initialization"), so this comes before the
// packages of kubectl that have texts. If it did not, this would fail.
func init() {
	if err := i18n.SetLoadTranslationsFunc(load); err != nil {
		panic("kubectltext: " + err.Error())
	}
}

func load() error {
	if !isKubectl(os.Args) {
		return nil
	}
	return i18n.LoadTranslations("kubectl", nil)
}

// isKubectl tells whether a command line is that of kubectl.
func isKubectl(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == "kubectl" || len(args) > 1 && args[1] == "kubectl"
}
