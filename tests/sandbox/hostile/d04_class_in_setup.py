# attack: none: tests make and change objects of the program's class
# task: known
# expect: verdict=pass
# host must observe: -
# tests: ["root = Node(1); root.left = Node(2); root.left.left = Node(3)", "assert depth(root) == 3", "assert root.left.data == 2"]
class Node:
    def __init__(self, data):
        self.data, self.left = data, None


def depth(node):
    return 0 if node is None else 1 + depth(node.left)
