package dispatcher

// heap is a binary min-heap of pointers that know their own position, so that
// any element can be moved or removed in O(log n).
type heap[T any] struct {
	items []*T
	less  func(a, b *T) bool
	// at returns where an element keeps its position; -1 is "not in here".
	at func(*T) *int32
}

func (h *heap[T]) len() int { return len(h.items) }

// min returns the first element, nil if there is none.
func (h *heap[T]) min() *T {
	if len(h.items) == 0 {
		return nil
	}
	return h.items[0]
}

// max returns the last element, nil if there is none: one look at half of them.
func (h *heap[T]) max() *T {
	leaves := h.items[len(h.items)/2:]
	if len(leaves) == 0 {
		return nil
	}
	last := leaves[0]
	for _, x := range leaves[1:] {
		if h.less(last, x) {
			last = x
		}
	}
	return last
}

func (h *heap[T]) push(x *T) {
	h.items = append(h.items, x)
	*h.at(x) = int32(len(h.items) - 1)
	h.up(len(h.items) - 1)
}

func (h *heap[T]) pop() *T {
	x := h.items[0]
	h.remove(x)
	return x
}

// fix restores order after x changed; x must be in the heap.
func (h *heap[T]) fix(x *T) {
	i := int(*h.at(x))
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) remove(x *T) {
	i, last := int(*h.at(x)), len(h.items)-1
	*h.at(x) = -1
	moved := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	if i == last {
		return
	}
	h.items[i] = moved
	*h.at(moved) = int32(i)
	h.fix(moved)
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap[T]) down(i int) (moved bool) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return moved
		}
		if right := child + 1; right < len(h.items) && h.less(h.items[right], h.items[child]) {
			child = right
		}
		if !h.less(h.items[child], h.items[i]) {
			return moved
		}
		h.swap(i, child)
		i, moved = child, true
	}
}

func (h *heap[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.at(h.items[i]) = int32(i)
	*h.at(h.items[j]) = int32(j)
}
