"""Images: where they come from, which of them train, and how they are batched.

May import `config` and what stands below. Training and all that stands above it import this
package.
"""
