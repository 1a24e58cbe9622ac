package main

import "testing"

func TestTheVersionIsTold(t *testing.T) {
	for _, flag := range []string{"--version", "-v"} {
		if err := run(t.Context(), []string{flag}); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
