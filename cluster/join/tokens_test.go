package join

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/skerry-os/skerry/jointoken"
)

func newTokens(t *testing.T) Tokens {
	t.Helper()
	return Tokens{Client: fake.NewClientset(), CA: strings.Repeat("ab", 32)}
}

// accepts tells whether a cluster takes a token.
func (s Tokens) accepts(t *testing.T, given jointoken.Token, at time.Time) bool {
	t.Helper()
	server := Server{Tokens: func() ([]Token, error) { return s.List(t.Context()) }, Now: func() time.Time { return at }}
	return server.checkToken(given.String(), given.Role) == nil
}

func TestATokenIsValidUntilItExpiresOrIsRevoked(t *testing.T) {
	s, now := newTokens(t), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	made, known, err := s.Create(t.Context(), jointoken.Agent, "for shop 17", now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !s.accepts(t, made, now) || !s.accepts(t, made, now.Add(time.Hour-time.Second)) || s.accepts(t, made, now.Add(time.Hour)) {
		t.Error("it is not valid for an hour")
	}
	forever, _, err := s.Create(t.Context(), jointoken.Server, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.accepts(t, forever, now.Add(100*365*24*time.Hour)) {
		t.Error("one without an end ended")
	}
	if err := s.Revoke(t.Context(), known.ID); err != nil {
		t.Fatal(err)
	}
	if s.accepts(t, made, now) || !s.accepts(t, forever, now) {
		t.Error("revoking one did not end it, or ended another")
	}
	if err := s.Revoke(t.Context(), known.ID); err == nil || !strings.Contains(err.Error(), "token list") {
		t.Errorf("revoked again: %v", err)
	}
}

func TestTheClusterDoesNotKeepATokensSecret(t *testing.T) {
	s := newTokens(t)
	made, _, err := s.Create(t.Context(), jointoken.Agent, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := s.Client.CoreV1().Secrets(TokenNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(secrets.Items) != 1 {
		t.Fatal(len(secrets.Items), err)
	}
	for field, value := range secrets.Items[0].Data {
		if strings.Contains(string(value), made.Secret) {
			t.Errorf("it is in %s", field)
		}
	}
}

func TestARoleAlwaysHasItsFirstToken(t *testing.T) {
	s, now := newTokens(t), time.Now()
	first := jointoken.New(s.CA, jointoken.Agent)
	for _, kept := range []jointoken.Token{first, jointoken.New(s.CA, jointoken.Agent)} { // the second changes nothing
		if err := s.Keep(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
	}
	if !s.accepts(t, first, now) {
		t.Error("the first token is not valid")
	}
	if err := s.Revoke(t.Context(), jointoken.Agent); err == nil || !strings.Contains(err.Error(), "rotate") {
		t.Errorf("revoked: %v", err)
	}
	second, err := s.Rotate(t.Context(), jointoken.Agent)
	if err != nil {
		t.Fatal(err)
	}
	if s.accepts(t, first, now) || !s.accepts(t, second, now) {
		t.Error("rotating did not replace it")
	}
	all, err := s.List(t.Context())
	if err != nil || len(all) != 1 || !all[0].First() || all[0].Text != second.String() {
		t.Errorf("%v, %v", all, err)
	}
	if made, err := s.Rotate(t.Context(), jointoken.Server); err != nil || !s.accepts(t, made, now) {
		t.Errorf("of a role that had none: %v", err)
	}
}

func TestADamagedTokenIsNamedAndTheOthersHold(t *testing.T) {
	s := newTokens(t)
	good, _, err := s.Create(t.Context(), jointoken.Agent, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{roleField, digestField, expiresField} {
		_, known, err := s.Create(t.Context(), jointoken.Agent, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		secrets := s.Client.CoreV1().Secrets(TokenNamespace)
		secret, err := secrets.Get(t.Context(), tokenPrefix+known.ID, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data[field] = []byte("?")
		if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		all, err := s.List(t.Context())
		if err == nil || !strings.Contains(err.Error(), known.ID) || len(all) != 1 || !all[0].matches(good) {
			t.Errorf("%s: %v, %v", field, all, err)
		}
		if err := s.Revoke(t.Context(), known.ID); err != nil {
			t.Error(err)
		}
	}
}
