package floor

import "testing"

func TestStoriesHaveTheBodyThatIsAskedFor(t *testing.T) {
	for body := 600; body < 650; body++ {
		s, err := NewStory("FLOOR-1", body)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(s.Body(1)); got != body || s.Message(1) == s.Message(2) {
			t.Errorf("%d bytes; want %d", got, body)
		}
	}
}

func TestIDsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, story := range []string{"A", "B"} {
		i := newIDs(story)
		for _, target := range []int{1, 10, 9_999_999} {
			for _, sequence := range []int{1, 11, 1000} {
				key := string(i.append(nil, target, sequence))
				if seen[key] || len(key) != 26 {
					t.Errorf("%s", key)
				}
				seen[key] = true
			}
		}
	}
}
