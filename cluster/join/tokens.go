package join

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/jointoken"
)

// A token is kept as a Secret, for all servers to know it. The token's own
// secret is not in it, only its digest: 128 random bits cannot be guessed from
// that. The first token of each role is kept whole, for each server to be able
// to print it; Secrets are encrypted in the datastore.
const (
	// TokenNamespace is where tokens are.
	TokenNamespace = metav1.NamespaceSystem
	// TokenType is the type of the Secrets.
	TokenType = "skerry.dev/join-token"

	tokenPrefix = "join-token-"
	tokenID     = 3 // random bytes

	roleField        = "role"
	digestField      = "sha256"
	descriptionField = "description"
	expiresField     = "expires" // RFC 3339; missing: never
	textField        = "token"
)

// Token is what the cluster knows of a token.
type Token struct {
	ID          string // a role's name for the first token of the role
	Role        string
	Description string
	Created     time.Time
	Expires     time.Time // zero: never
	// Text is the whole token where the cluster keeps it. It is a secret.
	Text string

	digest string
}

// Expired tells whether the token's time is over.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// First tells whether it is the first token of a role, which is never without
// one.
func (t Token) First() bool { return t.ID == t.Role }

// matches tells in constant time whether somebody gave this token.
func (t Token) matches(given jointoken.Token) bool {
	return t.Role == given.Role && subtle.ConstantTimeCompare([]byte(t.digest), []byte(secretDigest(given))) == 1
}

func secretDigest(t jointoken.Token) string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

// ReadToken reads the Secret of a token.
func ReadToken(secret *corev1.Secret) (Token, error) {
	t := Token{
		ID: strings.TrimPrefix(secret.Name, tokenPrefix), Role: string(secret.Data[roleField]), Description: string(secret.Data[descriptionField]),
		Created: secret.CreationTimestamp.Time, Text: string(secret.Data[textField]), digest: string(secret.Data[digestField]),
	}
	damaged := func(field string) (Token, error) {
		return Token{}, fmt.Errorf("secret %s/%s: its %s is damaged: delete it, and make another token", secret.Namespace, secret.Name, field)
	}
	if t.Role != jointoken.Server && t.Role != jointoken.Agent {
		return damaged(roleField)
	}
	if len(t.digest) != hex.EncodedLen(sha256.Size) {
		return damaged(digestField)
	}
	if expires := string(secret.Data[expiresField]); expires != "" {
		var err error
		if t.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
			return damaged(expiresField)
		}
	}
	return t, nil
}

// Tokens are those of a cluster.
type Tokens struct {
	Client kubernetes.Interface
	CA     string // SHA-256 of the cluster's CA in hexadecimal
}

// Create makes a token and returns it. It is told here only.
func (s Tokens) Create(ctx context.Context, role, description string, expires time.Time) (jointoken.Token, Token, error) {
	var id [tokenID]byte
	rand.Read(id[:]) // never fails
	made := jointoken.New(s.CA, role)
	secret := secretOf(hex.EncodeToString(id[:]), made)
	secret.Data[descriptionField] = []byte(description)
	if !expires.IsZero() {
		secret.Data[expiresField] = []byte(expires.UTC().Format(time.RFC3339))
	}
	created, err := s.Client.CoreV1().Secrets(TokenNamespace).Create(ctx, secret, metav1.CreateOptions{})
	if err != nil {
		return jointoken.Token{}, Token{}, fmt.Errorf("create a token: %w", err)
	}
	known, err := ReadToken(created)
	return made, known, err
}

func secretOf(id string, made jointoken.Token) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: tokenPrefix + id, Namespace: TokenNamespace},
		Type:       TokenType,
		Data:       map[string][]byte{roleField: []byte(made.Role), digestField: []byte(secretDigest(made))},
	}
}

func firstOf(made jointoken.Token) *corev1.Secret {
	secret := secretOf(made.Role, made)
	secret.Data[textField] = []byte(made.String())
	return secret
}

// List returns all tokens, expired ones included.
func (s Tokens) List(ctx context.Context) ([]Token, error) {
	secrets, err := s.Client.CoreV1().Secrets(TokenNamespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + TokenType})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	var all []Token
	var errs []error
	for i := range secrets.Items {
		t, err := ReadToken(&secrets.Items[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, t)
	}
	return all, errors.Join(errs...)
}

// Revoke has the cluster refuse a token. Machines that have joined stay.
func (s Tokens) Revoke(ctx context.Context, id string) error {
	if id == jointoken.Server || id == jointoken.Agent {
		return fmt.Errorf("revoke token %s: a role is never without its first token: `skerry token rotate --role %s` makes another", id, id)
	}
	secrets := s.Client.CoreV1().Secrets(TokenNamespace)
	found, err := secrets.Get(ctx, tokenPrefix+id, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && found.Type != TokenType {
		return fmt.Errorf("revoke token %s: there is none: `skerry token list` shows those there are", id)
	}
	if err == nil {
		err = secrets.Delete(ctx, found.Name, metav1.DeleteOptions{})
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// Rotate replaces the first token of a role, whose old one is refused from
// now on.
func (s Tokens) Rotate(ctx context.Context, role string) (jointoken.Token, error) {
	made := jointoken.New(s.CA, role)
	secrets := s.Client.CoreV1().Secrets(TokenNamespace)
	_, err := secrets.Update(ctx, firstOf(made), metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, firstOf(made), metav1.CreateOptions{})
	}
	if err != nil {
		return jointoken.Token{}, fmt.Errorf("rotate the token of role %s: %w", role, err)
	}
	return made, nil
}

// Keep has the cluster know the first token of a role, unless it knows one.
func (s Tokens) Keep(ctx context.Context, first jointoken.Token) error {
	_, err := s.Client.CoreV1().Secrets(TokenNamespace).Create(ctx, firstOf(first), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("keep the token of role %s: %w", first.Role, err)
	}
	return nil
}
