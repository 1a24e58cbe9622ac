package builder

import (
	"errors"
	"fmt"
	"os"

	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

// CheckConfig reads a node config file and returns what is wrong with it.
func CheckConfig(name string) error {
	_, err := readConfig(name)
	return err
}

// ConfigFinding is one thing wrong with a node config.
type ConfigFinding struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 if it is with the file as a whole
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Key     string `json:"key,omitempty"`    // as in network.interfaces[0].mtu
	Message string `json:"message"`
}

// ConfigFindings takes an error of CheckConfig apart.
func ConfigFindings(name string, err error) []ConfigFinding {
	var wrong *strictyaml.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return []ConfigFinding{{File: name, Message: err.Error()}}
	}
	var findings []ConfigFinding
	for _, p := range wrong.Problems {
		findings = append(findings, ConfigFinding{p.File, p.Line, p.Column, string(p.Path), p.Text})
	}
	if wrong.Omitted > 0 {
		findings = append(findings, ConfigFinding{File: name, Message: fmt.Sprintf("and %d more problems", wrong.Omitted)})
	}
	return findings
}

// readConfig returns the bytes of a node config that a node will accept.
func readConfig(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	contents, err := strictyaml.Read(name, file)
	if err != nil {
		return nil, err
	}
	_, err = nodeconfig.Parse(name, contents)
	return contents, err
}
