package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
)

// idTokens reads OpenID Connect ID tokens (OpenID Connect Core 1.0 section 3.1.3.7).
type idTokens struct {
	config   OIDC
	provider *provider
	now      func() time.Time
}

// principal verifies a token and returns who it is of. The errors of verification say nothing that must not be logged; errProvider is
// among them if the provider would have to be asked. mayAsk is false for a source that failed too often.
func (t *idTokens) principal(ctx context.Context, token string, mayAsk bool) (Principal, error) {
	keys := &signatures{provider: t.provider, mayAsk: mayAsk}
	verifier := oidc.NewVerifier(t.config.Issuer, keys, &oidc.Config{
		ClientID: t.config.ClientID, Now: t.now, SupportedSigningAlgs: algorithmNames(),
	})
	verified, err := verifier.Verify(ctx, token)
	switch {
	case keys.away != nil:
		return Principal{}, keys.away
	case err != nil:
		return Principal{}, err
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return Principal{}, err
	}
	if err := t.checkParty(verified, claims); err != nil {
		return Principal{}, err
	}
	name, err := t.username(claims)
	if err != nil {
		return Principal{}, err
	}
	groups, err := t.groups(claims)
	if err != nil {
		return Principal{}, err
	}
	return Principal{Kind: User, Name: name, Groups: groups, NotAfter: verified.Expiry}, nil
}

func algorithmNames() []string {
	var names []string
	for _, a := range algorithms() {
		names = append(names, string(a))
	}
	return names
}

// checkParty refuses a token that was issued to another client, who is only allowed to show it to this one.
func (t *idTokens) checkParty(verified *oidc.IDToken, claims map[string]any) error {
	party, named := claims["azp"]
	switch {
	case named && party != t.config.ClientID:
		return errors.New("the token was issued to another client (azp)")
	case !named && len(verified.Audience) > 1:
		return errors.New("the token has several audiences and does not say to which of them it was issued (azp)")
	case verified.IssuedAt.After(t.now().Add(maxSkew)):
		return errors.New("the token was issued in the future")
	}
	return nil
}

func (t *idTokens) username(claims map[string]any) (string, error) {
	claim := t.config.UsernameClaim
	if claim == "" {
		claim = "sub"
	}
	name, _ := claims[claim].(string)
	if err := checkText(name); err != nil {
		return "", fmt.Errorf("the claim %s, which names the user, %w", claim, err)
	}
	if claim == "email" {
		if verified, _ := claims["email_verified"].(bool); !verified {
			return "", errors.New("the provider has not verified the address in the claim email (email_verified)")
		}
	}
	return t.config.UsernamePrefix + name, nil
}

// groups reads one group or a list of them.
func (t *idTokens) groups(claims map[string]any) ([]string, error) {
	if t.config.GroupsClaim == "" {
		return nil, nil
	}
	var list []any
	switch v := claims[t.config.GroupsClaim].(type) {
	case nil:
		return nil, nil
	case string:
		list = []any{v}
	case []any:
		list = v
	default:
		return nil, fmt.Errorf("the claim %s is neither a text nor a list of texts", t.config.GroupsClaim)
	}
	if len(list) > maxGroups {
		return nil, fmt.Errorf("the claim %s has %d groups, at most %d are possible: let the provider send fewer", t.config.GroupsClaim, len(list), maxGroups)
	}
	groups := make([]string, 0, len(list))
	for _, v := range list {
		group, _ := v.(string)
		if err := checkText(group); err != nil {
			return nil, fmt.Errorf("a group in the claim %s %w", t.config.GroupsClaim, err)
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// checkText refuses names that could not be shown, stored or told apart.
func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("is missing or no text")
	case len(s) > maxName:
		return fmt.Errorf("has %d bytes, at most %d are possible", len(s), maxName)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has characters that cannot be shown")
	}
	return nil
}
