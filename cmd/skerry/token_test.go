package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/jointoken"
)

func TestTheListOfTokensHasNoSecrets(t *testing.T) {
	tokens := join.Tokens{Client: fake.NewClientset(), CA: strings.Repeat("ab", 32)}
	first := jointoken.New(tokens.CA, jointoken.Agent)
	if err := tokens.Keep(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	made, known, err := tokens.Create(t.Context(), jointoken.Server, "for shop 17", time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var table, text bytes.Buffer
	if err := listTokens(t.Context(), &table, tokens, false); err != nil {
		t.Fatal(err)
	}
	if err := listTokens(t.Context(), &text, tokens, true); err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{table.String(), text.String()} {
		if strings.Contains(shown, first.Secret) || strings.Contains(shown, made.Secret) {
			t.Errorf("a secret is in\n%s", shown)
		}
		for _, want := range []string{"agent", known.ID, "for shop 17", "expired"} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s is missing in\n%s", want, shown)
			}
		}
	}
	var read []listedToken
	if err := json.Unmarshal(text.Bytes(), &read); err != nil || len(read) != 2 {
		t.Fatalf("%d tokens: %v", len(read), err)
	}
	for _, each := range read {
		if each.Expired != (each.Role == jointoken.Server) {
			t.Errorf("%s: expired %v", each.ID, each.Expired)
		}
	}
}
